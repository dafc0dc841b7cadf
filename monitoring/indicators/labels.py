"""Titles of the indicators, for pages and messages; the code uses their names."""

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

TITLES: dict[str, Promise] = {
    "migrations_missing": _("Migrations"),
    "source_index_valid": _("Index of sources"),
    "webhook_secret_set": _("Webhook secret"),
    "monitoring_on": _("Monitoring"),
    "round_trip": _("Synthetic update"),
    "inbox_lag": _("Inbox lag"),
    "inbox_pending": _("Pending updates"),
    "webhook_error_rate": _("Webhook errors"),
    "seconds_since_update": _("Updates arrive"),
    "dead_letters": _("Dead letters, 24 hours"),
    "secret_failures": _("Wrong secrets, 1 hour"),
    "redis_connected": _("Redis"),
    "evictions": _("Evictions"),
    "cache_hit_rate": _("Cache hit rate"),
    "cache_latency": _("Redis latency, ms"),
    "cache_memory": _("Redis memory, bytes"),
    "cached_profiles": _("Profiles in Redis"),
    "profile_quality": _("Quality of profiles"),
    "profile_completeness": _("Completeness of profiles"),
    "profile_freshness": _("Freshness of profiles"),
    "coverage": _("Users with a profile"),
    "full_names": _("Users with a full name"),
    "agreement": _("Agreement"),
    "conflicts": _("Conflicts"),
    "universities_standing_out": _("Universities"),
    "reason_against": _("Tripwire"),
    "comparison_coverage": _("Comparison coverage"),
    "comparison_errors": _("Comparison errors"),
    "subscription_lost": _("Lost subscription"),
    "subscription_wrong": _("Subscription problems"),
    "rollout_held": _("Rollout held"),
    "backfill_failed_batches": _("Failed backfill batches"),
}
