"""Format the rows of the operations report: their titles, and their values with units."""

from typing import Any

from django.template.defaultfilters import filesizeformat
from django.utils.formats import number_format
from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy as lazy

from config.lib.messages import shown_number
from monitoring.templatetags.screens import share

TITLES: dict[str, str | Promise] = {
    "living_processes": lazy("Running processes"),
    "reached_processes": lazy("Processes at the current revision"),
    "silent_processes": lazy("Silent processes"),
    "pending_updates": lazy("Pending updates"),
    "total_dead_letters": lazy("Dead letters"),
    "total_users": lazy("Employees and other people with a profile"),
    "users_with_profiles": lazy("People with a profile"),
    "coverage": lazy("Coverage"),
    "error_rate": lazy("Error rate"),
    "total_events": lazy("Received updates"),
    "successful_events": lazy("Successful updates"),
    "failed_events": lazy("Failed updates"),
    "duplicate_events": lazy("Duplicate deliveries"),
    "pending_events": lazy("Pending updates"),
    "profiles_stored": lazy("Stored profiles"),
    "p95_processing_time_ms": lazy("Processing time, 95th percentile"),
    "complete_profiles": lazy("Complete profiles"),
    "partial_profiles": lazy("Partial profiles"),
    "empty_profiles": lazy("Empty profiles"),
    "stale_profiles": lazy("Stale profiles"),
    "profile_completeness": lazy("Completeness"),
    "profile_freshness": lazy("Freshness"),
    "profile_quality": lazy("Quality"),
    "redis_connected": lazy("Redis answers"),
    "used_memory_bytes": lazy("Used memory"),
    "maxmemory_bytes": lazy("Memory limit"),
    "evicted_keys": lazy("Evicted keys"),
    "latency_ms": lazy("Response time of Redis"),
    "cache_hit_rate": lazy("Cache hit rate"),
}
_SHARES = {"coverage", "error_rate", "profile_completeness", "profile_freshness", "profile_quality", "cache_hit_rate"}
UNKNOWN = "—"


def title_of(name: str) -> str:
    """Return the title of a row; a row without a title, such as a table's size, gets its name without “_bytes”."""
    return str(TITLES.get(name, name.removesuffix("_bytes")))


def shown(name: str, value: Any) -> str:
    """Format a row's value with its unit. Shares are given as 0 to 1; None, a failed measurement, becomes a dash."""
    if value is None:
        return UNKNOWN
    if isinstance(value, bool):
        return _("yes") if value else _("no")
    if name in _SHARES:
        return share(value)
    if name.endswith("_bytes"):
        return filesizeformat(value)
    if name.endswith("_ms"):
        return f"{number_format(value, 1)} {_('ms')}"
    return shown_number(value) if isinstance(value, int | float) else str(value)
