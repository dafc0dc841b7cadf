"""The admin's sidebar. An entry that the user may not open is not shown."""

from __future__ import annotations

from functools import partial
from typing import Any

from django.http import HttpRequest
from django.urls import reverse, reverse_lazy
from django.utils.translation import gettext_lazy as _

from config.lib.scope import scope_of


def _entry(
    title: Any, icon: str, url_name: str, permission: str, *, requires_global_scope: bool = False
) -> dict[str, Any]:
    """``requires_global_scope``: not for those who look after one university."""

    def may_open(request: HttpRequest) -> bool:
        is_within = not requires_global_scope or scope_of(request).sees_all
        return is_within and request.user.has_perm(permission)

    return {"title": title, "icon": icon, "link": reverse_lazy(url_name), "permission": may_open}


_entry_of_global_scope = partial(_entry, requires_global_scope=True)


_INBOX, _DEAD_LETTERS = "admin:webhooks_inboxupdate_changelist", "admin:webhooks_inboxupdate_dead_letters"


def _is_in_inbox(request: HttpRequest) -> bool:
    """Return whether the page is the inbox's own: the theme would mark it for the dead letters below it, too."""
    path = request.path
    return path.startswith(reverse(_INBOX)) and not path.startswith(reverse(_DEAD_LETTERS))


_GROUPS = [
    {
        "title": _("Migration"),
        "items": [
            {"title": _("Overview"), "icon": "dashboard", "link": reverse_lazy("admin:index")},
            _entry(_("Rollout"), "rocket_launch", "screens:rollout", "rollout.view_rollout"),
            _entry_of_global_scope(
                _("Comparisons"), "compare_arrows", "screens:comparisons", "profiles.view_comparison"
            ),
            _entry(_("Checklist"), "checklist", "screens:checklist", "rollout.view_rollout"),
            _entry_of_global_scope(_("Name sources"), "donut_small", "screens:sources", "monitoring.view_screens"),
        ],
    },
    {
        "title": _("Directory"),
        "items": [
            _entry(_("Employees"), "badge", "admin:employees_employee_changelist", "employees.view_employee"),
            _entry(
                _("Universities"),
                "account_balance",
                "admin:employees_university_changelist",
                "employees.view_university",
            ),
            _entry(
                _("Unresolved names"),
                "person_off",
                "admin:employees_unresolvedname_changelist",
                "employees.view_unresolvedname",
            ),
            _entry(_("Look a person up"), "person_search", "screens:person", "monitoring.look_up_person"),
            _entry(
                _("Backfill"),
                "published_with_changes",
                "admin:employees_backfillrun_changelist",
                "employees.view_backfillrun",
            ),
        ],
    },
    {
        "title": _("Webhook"),
        "items": [
            _entry_of_global_scope(_("Inbox"), "inbox", _INBOX, "webhooks.view_inboxupdate") | {"active": _is_in_inbox},
            _entry_of_global_scope(_("Dead letters"), "mark_email_unread", _DEAD_LETTERS, "webhooks.view_inboxupdate"),
            _entry_of_global_scope(_("Replays"), "replay", "admin:webhooks_replay_changelist", "webhooks.view_replay"),
        ],
    },
    {
        "title": _("Monitoring"),
        "items": [
            _entry(_("Cache health"), "memory", "screens:cache", "monitoring.view_screens"),
            _entry(_("Alerts"), "notifications", "admin:monitoring_alert_changelist", "monitoring.view_alert"),
            _entry(_("Gate checks"), "rule", "admin:monitoring_gatecheck_changelist", "monitoring.view_gatecheck"),
        ],
    },
    {
        "title": _("System"),
        "items": [
            _entry_of_global_scope(_("Audit log"), "policy", "screens:audit", "monitoring.view_audit"),
            _entry(_("Users"), "person", "admin:auth_user_changelist", "auth.view_user"),
            _entry(_("Groups"), "group", "admin:auth_group_changelist", "auth.view_group"),
            _entry(_("Rollout changes"), "history", "admin:rollout_change_changelist", "rollout.view_change"),
        ],
    },
]


def sidebar(request: HttpRequest) -> list[dict[str, Any]]:
    return _GROUPS
