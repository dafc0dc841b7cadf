"""The guide's migration checklist: indicators answer for what can be measured, people sign for the rest."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from config.lib.messages import number
from monitoring.indicators.models import Round
from monitoring.rollout_control.models import Signature
from monitoring.rollout_control.titles import CHECKLIST_ITEMS
from profiles.models import ProfileSource
from profiles.rollout import rules
from profiles.rollout.models import Change, Flag
from profiles.rollout.phases import PHASES

SIGNATURE_LASTS = timedelta(days=90)

# Returns whether the item is done by a round of indicators, and how that is known.
Check = Callable[[Round], tuple[bool, str]]


@dataclass(frozen=True, slots=True)
class Item:
    """A line of the guide; without ``check`` somebody has to sign for it."""

    name: str
    section: Promise
    check: Check | None = None

    @property
    def text(self) -> Promise:
        return CHECKLIST_ITEMS[self.name]


@dataclass(frozen=True, slots=True)
class ItemStatus:
    item: Item
    is_done: bool
    message: str
    expires_at: datetime | None = None


def checklist_status(readings: Round) -> list[ItemStatus]:
    """Return the status of each item by a round of indicators and the signatures in force."""
    signatures = {row.item: row for row in Signature.objects.in_force().select_related("by").order_by("signed_at")}
    statuses = []
    for item in ITEMS:
        signature = signatures.get(item.name)
        if item.check:
            statuses.append(ItemStatus(item, *item.check(readings)))
        elif signature is None:
            statuses.append(ItemStatus(item, False, _("not signed yet")))
        else:
            params = {"by": signature.by.get_username(), "note": signature.note}
            statuses.append(ItemStatus(item, True, _("signed by %(by)s: %(note)s") % params, signature.expires_at))
    return statuses


def _by(indicator: str) -> Check:
    return lambda readings: (readings[indicator].is_ok, str(readings[indicator].sentence))


def _phase_is_on(phase: int) -> Check:
    def check(readings: Round) -> tuple[bool, str]:
        percent = Flag.objects.filter(name=PHASES[phase - 1]).values_list("percent", flat=True).first() or Decimal(0)
        params = {"phase": phase, "percent": number(rules.shown(percent))}
        return percent > 0, _("phase %(phase)d is at %(percent)s%%") % params

    return check


def _profiles_are_cached(readings: Round) -> tuple[bool, str]:
    count = readings["profile_quality"].n or 0
    return count > 0, _("cached profiles: %d") % count


def _employees_are_named(readings: Round) -> tuple[bool, str]:
    by_source = readings["coverage"].data.get("employees_by_source", {})
    count = sum(by_source.get(source, 0) for source in (ProfileSource.WEBHOOK, ProfileSource.USER_INPUT))
    return count > 0, _("employees with a name from the cache: %d") % count


def _lookups_are_compared(readings: Round) -> tuple[bool, str]:
    count = readings["comparison_errors"].n or 0
    return count > 0, _("compared lookups: %d") % count


def _rollback_was_tried(readings: Round) -> tuple[bool, str]:
    was_tried = Change.objects.filter(action__in=("rehearsal", "emergency")).exists()
    return was_tried, _("rollback was tried") if was_tried else _("rollback was never tried")


T = gettext_lazy
_BEFORE, _SETUP, _WEBHOOK = T("Pre-Migration"), T("Infrastructure Setup"), T("Webhook Configuration")
_ENABLING, _WATCHING, _AFTER = T("Integration Enablement"), T("Monitoring and Optimization"), T("Post-Migration")

ITEMS = (
    Item("backup_configuration", _BEFORE),
    Item("backup_database", _BEFORE),
    Item("review_usage", _BEFORE),
    Item("assess_volume", _BEFORE),
    Item("plan_rollback", _BEFORE, _rollback_was_tried),
    Item("environment", _SETUP, _by("webhook_secret_set")),
    Item("compose", _SETUP),
    Item("migrations", _SETUP, _by("migrations_missing")),
    Item("deploy", _SETUP, _phase_is_on(1)),
    Item("health", _SETUP, _by("redis_connected")),
    Item("webhook_url", _WEBHOOK),
    Item("event_types", _WEBHOOK, _phase_is_on(2)),
    Item("webhook_endpoint", _WEBHOOK, _by("round_trip")),
    Item("webhook_activity", _WEBHOOK, _by("seconds_since_update")),
    Item("profile_caching", _WEBHOOK, _profiles_are_cached),
    Item("cache_integration", _ENABLING, _phase_is_on(3)),
    Item("creation", _ENABLING, _employees_are_named),
    Item("usage", _ENABLING, _lookups_are_compared),
    Item("sources", _ENABLING, _by("source_index_valid")),
    Item("database", _ENABLING, _by("inbox_lag")),
    Item("alerts", _WATCHING),
    Item("performance", _WATCHING, _by("monitoring_on")),
    Item("cache_tuning", _WATCHING, _by("evictions")),
    Item("quality", _WATCHING, _by("profile_quality")),
    Item("procedures", _WATCHING),
    Item("regression", _AFTER),
    Item("compatibility", _AFTER),
    Item("system_performance", _AFTER, _by("webhook_error_rate")),
    Item("documentation", _AFTER),
    Item("training", _AFTER),
)
TO_SIGN = [(item.name, item.text) for item in ITEMS if item.check is None]
