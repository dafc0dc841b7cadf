"""The guide's migration checklist: measurable items are checked automatically, people sign the other items."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from config.lib.messages import localize
from monitoring.indicators.models import Round
from monitoring.rollout_control.labels import CHECKLIST, CHECKLIST_ITEMS
from monitoring.rollout_control.models import Signature
from profiles.models import ProfileSource
from profiles.rollout import rules
from profiles.rollout.models import Change, Flag
from profiles.rollout.phases import PHASES

SIGNATURE_LASTS = timedelta(days=90)

# Takes a round of indicators; returns whether the item is done, and a message that shows why.
Check = Callable[[Round], tuple[bool, str]]


@dataclass(frozen=True, slots=True)
class ItemStatus:
    """The status of a checklist item; somebody has to sign it unless ``is_measured``."""

    name: str
    title: Promise
    section: Promise
    is_measured: bool
    is_done: bool
    message: str
    expires_at: datetime | None = None


def checklist_status(readings: Round) -> list[ItemStatus]:
    """Return the status of each item, from a round of indicators and from the signatures in force."""
    signatures = {row.item: row for row in Signature.objects.in_force().select_related("by").order_by("signed_at")}
    statuses = []
    for section, items in CHECKLIST.items():
        for name, title in items.items():
            signature = signatures.get(name)
            if name in CHECKS:
                statuses.append(ItemStatus(name, title, section, True, *CHECKS[name](readings)))
            elif signature is None:
                statuses.append(ItemStatus(name, title, section, False, False, _("not signed yet")))
            else:
                params = {"by": signature.by.get_username(), "note": signature.note}
                message = _("signed by %(by)s: %(note)s") % params
                statuses.append(ItemStatus(name, title, section, False, True, message, signature.expires_at))
    return statuses


def _by(indicator: str) -> Check:
    return lambda readings: (readings[indicator].is_ok, str(readings[indicator].sentence))


def _phase_is_on(phase: int) -> Check:
    def check(readings: Round) -> tuple[bool, str]:
        percent = Flag.objects.filter(name=PHASES[phase - 1]).values_list("percent", flat=True).first() or Decimal(0)
        params = {"phase": phase, "percent": localize(rules.format_percent(percent))}
        return percent > 0, _("phase %(phase)d is at %(percent)s%%") % params

    return check


def _counted(indicator: str, text: Promise) -> Check:
    return lambda readings: (bool(readings[indicator].n), str(text) % (readings[indicator].n or 0))


def _employees_are_named(readings: Round) -> tuple[bool, str]:
    by_source = readings["coverage"].data.get("employees_by_source", {})
    count = sum(by_source.get(source, 0) for source in (ProfileSource.WEBHOOK, ProfileSource.USER_INPUT))
    return count > 0, _("employees with a name from the cache: %d") % count


def _rollback_was_tried(readings: Round) -> tuple[bool, str]:
    was_tried = Change.objects.filter(action__in=("rehearsal", "emergency")).exists()
    return was_tried, _("rollback was tried") if was_tried else _("rollback was never tried")


CHECKS: dict[str, Check] = {
    "plan_rollback": _rollback_was_tried,
    "environment": _by("webhook_secret_set"),
    "migrations": _by("migrations_missing"),
    "deploy": _phase_is_on(1),
    "health": _by("redis_connected"),
    "event_types": _phase_is_on(2),
    "webhook_endpoint": _by("round_trip"),
    "webhook_activity": _by("seconds_since_update"),
    "profile_caching": _counted("profile_quality", gettext_lazy("cached profiles: %d")),
    "cache_integration": _phase_is_on(3),
    "creation": _employees_are_named,
    "usage": _counted("comparison_errors", gettext_lazy("compared lookups: %d")),
    "sources": _by("source_index_valid"),
    "database": _by("inbox_lag"),
    "performance": _by("monitoring_on"),
    "cache_tuning": _by("evictions"),
    "quality": _by("profile_quality"),
    "system_performance": _by("webhook_error_rate"),
}
TO_SIGN = [(name, title) for name, title in CHECKLIST_ITEMS.items() if name not in CHECKS]
