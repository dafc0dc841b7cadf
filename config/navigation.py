"""The admin's sidebar. A user sees only the entries that they may open."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest
from django.urls import reverse, reverse_lazy
from django.utils.translation import gettext_lazy as _

from config.lib.scope import scope_of

_INBOX, _DEAD_LETTERS = "admin:webhooks_inboxupdate_changelist", "admin:webhooks_inboxupdate_dead_letters"


def _page(title: Any, icon: str, url_name: str, permission: str, *, is_global: bool = False) -> dict[str, Any]:
    """``is_global``: only for users who see all universities."""

    def may_open(request: HttpRequest) -> bool:
        return request.user.has_perm(permission) and (not is_global or scope_of(request).sees_all)

    return {"title": title, "icon": icon, "link": reverse_lazy(url_name), "permission": may_open}


def _list(title: Any, icon: str, model: str, *, is_global: bool = False) -> dict[str, Any]:
    app, name = model.split(".")
    return _page(title, icon, f"admin:{app}_{name}_changelist", f"{app}.view_{name}", is_global=is_global)


def _is_in_inbox(request: HttpRequest) -> bool:
    """Return whether the page belongs to the inbox itself; the theme would mark it for the dead letters as well."""
    path = request.path
    return path.startswith(reverse(_INBOX)) and not path.startswith(reverse(_DEAD_LETTERS))


_GROUPS = [
    {
        "title": _("Migration"),
        "items": [
            {"title": _("Overview"), "icon": "dashboard", "link": reverse_lazy("admin:index")},
            _page(_("Rollout"), "rocket_launch", "screens:rollout", "rollout.view_rollout"),
            _page(
                _("Comparisons"), "compare_arrows", "screens:comparisons", "profiles.view_comparison", is_global=True
            ),
            _page(_("Checklist"), "checklist", "screens:checklist", "rollout.view_rollout"),
            _page(_("Name sources"), "donut_small", "screens:sources", "monitoring.view_screens", is_global=True),
        ],
    },
    {
        "title": _("Directory"),
        "items": [
            _list(_("Employees"), "badge", "employees.employee"),
            _list(_("Universities"), "account_balance", "employees.university"),
            _list(_("Unresolved names"), "person_off", "employees.unresolvedname"),
            _page(_("Look a person up"), "person_search", "screens:person", "monitoring.look_up_person"),
            _list(_("Backfill"), "published_with_changes", "employees.backfillrun"),
        ],
    },
    {
        "title": _("Webhook"),
        "items": [
            _list(_("Inbox"), "inbox", "webhooks.inboxupdate", is_global=True) | {"active": _is_in_inbox},
            _page(_("Dead letters"), "mark_email_unread", _DEAD_LETTERS, "webhooks.view_inboxupdate", is_global=True),
            _list(_("Replays"), "replay", "webhooks.replay", is_global=True),
        ],
    },
    {
        "title": _("Monitoring"),
        "items": [
            _page(_("Cache health"), "memory", "screens:cache", "monitoring.view_screens"),
            _list(_("Alerts"), "notifications", "monitoring.alert"),
            _list(_("Gate checks"), "rule", "monitoring.gatecheck"),
        ],
    },
    {
        "title": _("System"),
        "items": [
            _page(_("Audit log"), "policy", "screens:audit", "monitoring.view_audit", is_global=True),
            _list(_("Users"), "person", "auth.user"),
            _list(_("Groups"), "group", "auth.group"),
            _list(_("Rollout changes"), "history", "rollout.change"),
            _list(_("Flags"), "flag", "rollout.flag"),
            _list(_("Switches"), "toggle_on", "waffle.switch"),
        ],
    },
]


def sidebar(request: HttpRequest) -> list[dict[str, Any]]:
    return _GROUPS
