"""The admin's sidebar, in which users see only the entries that they may open."""

from functools import cache
from typing import Any

from django.http import HttpRequest
from django.urls import reverse
from django.utils.translation import gettext_lazy as _

from config.lib.scope import scope_of

_INBOX, _DEAD_LETTERS = "admin:webhooks_inboxupdate_changelist", "admin:webhooks_inboxupdate_dead_letters"


def _entry(title: Any, icon: str, url_name: str, permission: str, *, is_global: bool = False) -> dict[str, Any]:
    """Return an entry of the sidebar; with ``is_global``, it is shown only to users who see all universities."""

    def may_open(request: HttpRequest) -> bool:
        return (not is_global or scope_of(request).sees_all) and request.user.has_perm(permission)

    return {"title": title, "icon": icon, "link": url_name, "permission": may_open}


def _table_entry(title: Any, icon: str, table: str) -> dict[str, Any]:
    """Return an entry of the sidebar for the admin list of a model; ``table`` has the form ``app_model``."""
    app, _underscore, model = table.partition("_")
    return _entry(title, icon, f"admin:{table}_changelist", f"{app}.view_{model}")


def _is_in_inbox(request: HttpRequest) -> bool:
    """Return whether the page belongs to the inbox.

    The pages of dead letters do not, although their URLs begin with the URL of the inbox.
    """
    path = request.path
    return path.startswith(reverse(_INBOX)) and not path.startswith(reverse(_DEAD_LETTERS))


_GROUPS: dict[Any, list[dict[str, Any]]] = {
    _("Migration"): [
        {"title": _("Overview"), "icon": "dashboard", "link": "admin:index"},
        _entry(_("Rollout"), "rocket_launch", "screens:rollout", "rollout.view_rollout"),
        _entry(_("Comparisons"), "compare_arrows", "screens:comparisons", "profiles.view_comparison", is_global=True),
        _entry(_("Checklist"), "checklist", "screens:checklist", "rollout.view_rollout"),
        _entry(_("Name sources"), "donut_small", "screens:sources", "monitoring.view_screens", is_global=True),
    ],
    _("Directory"): [
        _table_entry(_("Employees"), "badge", "employees_employee"),
        _table_entry(_("Universities"), "account_balance", "employees_university"),
        _table_entry(_("Unresolved names"), "person_off", "employees_unresolvedname"),
        _entry(_("Find a person"), "person_search", "screens:person", "monitoring.look_up_person"),
        _table_entry(_("Backfill"), "published_with_changes", "employees_backfillrun"),
    ],
    _("Webhook"): [
        _entry(_("Inbox"), "inbox", _INBOX, "webhooks.view_inboxupdate", is_global=True) | {"active": _is_in_inbox},
        _entry(_("Dead letters"), "mark_email_unread", _DEAD_LETTERS, "webhooks.view_inboxupdate", is_global=True),
        _entry(_("Replays"), "replay", "admin:webhooks_replay_changelist", "webhooks.view_replay", is_global=True),
    ],
    _("Monitoring"): [
        _entry(_("Cache health"), "memory", "screens:cache", "monitoring.view_screens"),
        _table_entry(_("Alerts"), "notifications", "monitoring_alert") | {"counts_alerts": True},
        _table_entry(_("Gate checks"), "rule", "monitoring_gatecheck"),
    ],
    _("System"): [
        _entry(_("Audit log"), "policy", "screens:audit", "monitoring.view_audit", is_global=True),
        _table_entry(_("Users"), "person", "auth_user"),
        _table_entry(_("Groups"), "group", "auth_group"),
        _entry(_("API keys"), "key", "admin:credentials_apikey_changelist", "credentials.view_apikey", is_global=True),
        _table_entry(_("Rollout changes"), "history", "rollout_change"),
        _table_entry(_("Flags"), "flag", "rollout_flag"),
        _table_entry(_("Switches"), "toggle_on", "waffle_switch"),
        _table_entry(_("Samples"), "casino", "waffle_sample"),
    ],
}


@cache
def _groups() -> list[dict[str, Any]]:
    """Return the sidebar's groups with resolved URLs: the theme would resolve lazy URLs a hundred times per page."""
    return [
        {"title": title, "items": [item | {"link": reverse(item["link"])} for item in items]}
        for title, items in _GROUPS.items()
    ]


def sidebar(request: HttpRequest) -> list[dict[str, Any]]:
    return _groups()
