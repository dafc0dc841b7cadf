"""The guide's migration checklist: measurable items are checked automatically, and people sign the other items."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from django.db.models import QuerySet
from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from config.lib.messages import localize
from monitoring.indicators.models import IndicatorReading, Level, Round
from monitoring.rollout_control.labels import CHECKLIST, CHECKLIST_ITEMS
from monitoring.rollout_control.models import Signature
from monitoring.stats import reports
from monitoring.stats.cached import statistic
from monitoring.stats.models import Rollup, Span
from profiles.models import ProfileSource
from profiles.rollout import presenters, rules
from profiles.rollout.models import Change, Flag
from profiles.rollout.phases import PHASES
from webhooks.delivery_watchdog import SYNTHETIC
from webhooks.models import OTHER, InboxUpdate

SIGNATURE_LASTS = timedelta(days=90)

# Takes a round of indicators; returns whether the item is done, and a message that shows why.
Check = Callable[[Round], tuple[bool, str]]


@dataclass(frozen=True, slots=True)
class ItemStatus:
    """The status of a checklist item; unless ``is_measured``, somebody has to sign the item."""

    name: str
    title: Promise
    section: Promise
    is_measured: bool
    is_done: bool
    message: str
    expires_at: datetime | None = None


def checklist_status(readings: Round) -> list[ItemStatus]:
    """Return the status of each item, from the indicators in ``readings`` and the signatures that have not expired."""
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
    """Return a check that passes if the indicator is within its limit.

    If the indicator has no data now, its last reading with data counts, so that an item that is done stays done while
    there is no traffic.
    """

    def check(readings: Round) -> tuple[bool, str]:
        reading = _last_known(readings, indicator)
        message = str(reading.sentence)
        if reading is not readings[indicator]:
            message = _("%(message)s, on %(day)s") % {"message": message, "day": presenters.moment(reading.round_at)}
        return reading.is_ok, message

    return check


def _last_known(readings: Round, indicator: str) -> IndicatorReading:
    reading = readings[indicator]
    if reading.level != Level.UNKNOWN:
        return reading
    known = IndicatorReading.objects.filter(name=indicator).exclude(level__in=[Level.UNKNOWN, Level.ERROR])
    return known.order_by("-round_at").first() or reading


def _phase_is_on(phase: int) -> Check:
    def check(readings: Round) -> tuple[bool, str]:
        percent = Flag.objects.filter(name=PHASES[phase - 1]).values_list("percent", flat=True).first() or Decimal(0)
        params = {"phase": phase, "percent": localize(rules.format_percent(percent))}
        return percent > 0, _("phase %(phase)d is at %(percent)s%%") % params

    return check


def _compared_lookups(readings: Round) -> tuple[bool, str]:
    count = sum(row[-1] for row in statistic("comparisons_by_day").value)
    return count > 0, _("compared lookups: %d") % count


def _profiles_in(reading: str, field: str, text: Promise) -> Check:
    def check(readings: Round) -> tuple[bool, str]:
        count = int(getattr(_last_known(readings, reading), field) or 0)
        return count > 0, str(text) % count

    return check


def _updates_arrived(readings: Round) -> tuple[bool, str]:
    last = InboxUpdate.objects.exclude(request_id__startswith=SYNTHETIC).order_by("-id").first()
    at = last.received_at if last else _days_of_traffic().values_list("at", flat=True).first()
    if at is None:
        return False, _("no updates yet")
    return True, _("updates have arrived, the last one on %(at)s") % {"at": presenters.moment(at)}


def _types_arrived(readings: Round) -> tuple[bool, str]:
    known = reports.webhook_stats("month")["events_by_type"]
    types = {*_days_of_traffic().values_list("update_type", flat=True), *known}
    types -= {"", OTHER}
    return bool(types), _("update types received: %s") % (", ".join(sorted(types)) or "—")


def _days_of_traffic() -> QuerySet[Rollup]:
    return Rollup.objects.filter(span=Span.DAY, n__gt=0).order_by("-at")


def _employees_are_named(readings: Round) -> tuple[bool, str]:
    by_source = readings["coverage"].data.get("employees_by_source", {})
    count = sum(by_source.get(source, 0) for source in (ProfileSource.WEBHOOK, ProfileSource.USER_INPUT))
    return count > 0, _("employees with a name from the cache: %d") % count


def _rollback_was_tried(readings: Round) -> tuple[bool, str]:
    was_tried = Change.objects.filter(action__in=("rehearsal", "emergency")).exists()
    return was_tried, _("rollback has been tested") if was_tried else _("rollback has never been tested")


CHECKS: dict[str, Check] = {
    "plan_rollback": _rollback_was_tried,
    "environment": _by("webhook_secret_set"),
    "migrations": _by("migrations_missing"),
    "deploy": _phase_is_on(1),
    "health": _by("redis_connected"),
    "event_types": _types_arrived,
    "webhook_endpoint": _by("round_trip"),
    "webhook_activity": _updates_arrived,
    "profile_caching": _profiles_in("cached_profiles", "value", gettext_lazy("profiles in Redis: %d")),
    "cache_integration": _phase_is_on(3),
    "creation": _employees_are_named,
    "usage": _compared_lookups,
    "sources": _by("source_index_valid"),
    "database": _profiles_in("profile_quality", "n", gettext_lazy("profiles in PostgreSQL: %d")),
    "performance": _by("monitoring_on"),
    "cache_tuning": _by("evictions"),
    "quality": _by("profile_quality"),
    "system_performance": _by("webhook_error_rate"),
}
TO_SIGN = [(name, title) for name, title in CHECKLIST_ITEMS.items() if name not in CHECKS]
