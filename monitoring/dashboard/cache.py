"""The page about the cache: the health of Redis, the ages of the profiles, and when their names expire."""

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils import timezone
from django.utils.translation import gettext as _

from monitoring.dashboard import charts, home
from monitoring.dashboard.access import SEE, may, page, screen
from monitoring.indicators import rounds
from monitoring.stats.cached import statistic
from profiles.models import ProfileSource

EXPIRY_DAYS = 30
_AGES = (1, 3, 7, 14, 30, 60, 90)


@screen(SEE)
def health(request: HttpRequest) -> HttpResponse:
    aged, readings = statistic("ages"), rounds.latest()
    cache, rows = home.cache(readings), aged.value["rows"]
    context = {
        "cache": cache,
        "measured": readings,
        "at": aged.at,
        "is_sample": aged.value["is_sample"],
        "profiles": sum(count for _days, _source, count in rows),
        "ages": ages(rows),
        "expiries": expiries(rows),
        "ttl": settings.PROFILE_TTL,
        "hit_rate": charts.hit_rate(),
        "memory": charts.memory(cache["maxmemory_bytes"]),
        "may": may(request),
    }
    return page(request, "cache.html", _("Cache health"), **context)


@screen(SEE)
def live(request: HttpRequest) -> HttpResponse:
    readings = rounds.latest()
    context = {"cache": home.cache(readings), "measured": readings}
    return TemplateResponse(request, "admin/screens/cache_live.html", context)


def ages(rows: Iterable[Sequence[Any]]) -> dict[str, Any]:
    """Return the chart of profiles by age; ``rows`` are (age in days, source, number of profiles)."""
    counts: Counter[tuple[int, str]] = Counter()
    for days, source, count in rows:
        counts[next((edge for edge in _AGES if days < edge), 0), source] += count
    labels = [_("under %d d") % edge for edge in _AGES] + [_("%d d and older") % _AGES[-1]]
    lines = [
        charts.series(source.label, [counts[edge, source] for edge in (*_AGES, 0)], charts.SOURCE_COLOURS[source])
        for source in (ProfileSource.WEBHOOK, ProfileSource.USER_INPUT)
    ]
    return charts.chart("bar", labels, *lines, is_stacked=True, title=_("Profiles by age"))


def expiries(rows: Iterable[Sequence[Any]]) -> dict[str, Any]:
    """Return the chart of names from MAX that expire in the next 30 days, by day; user-provided names never expire."""
    ttl = settings.PROFILE_TTL // timedelta(days=1)
    counts: Counter[int] = Counter()
    for days, source, count in rows:
        if source == ProfileSource.WEBHOOK and 0 <= ttl - days <= EXPIRY_DAYS:
            counts[ttl - days] += count
    today = timezone.now().date()
    labels = [charts.day_label((today + timedelta(days=ahead)).isoformat()) for ahead in range(EXPIRY_DAYS + 1)]
    line = charts.series(_("Names that expire"), [counts[ahead] for ahead in range(EXPIRY_DAYS + 1)], "api")
    return charts.chart("bar", labels, line, title=_("Names that expire, by day"))
