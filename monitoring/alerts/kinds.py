"""The kinds of alerts and their messages, whose parameters come from ``Alert.words``."""

from django.db import models
from django.utils.translation import gettext_lazy as _
from django.utils.translation import gettext_noop


class Severity(models.TextChoices):
    WARNING = "warning", _("warning")
    CRITICAL = "critical", _("critical")


class Kind(models.TextChoices):
    PROFILE_QUALITY_LOW = "profile_quality_low", _("quality of the profiles")
    WEBHOOK_ERROR_RATE_HIGH = "webhook_error_rate_high", _("errors of the webhook")
    CACHE_CONNECTION_FAILED = "cache_connection_failed", _("Redis does not answer")
    CACHE_EVICTIONS_HIGH = "cache_evictions_high", _("Redis evicts profiles")
    INBOX_LAG_HIGH = "inbox_lag_high", _("updates wait")
    DEAD_LETTERS = "dead_letters", _("dead letters")
    WEBHOOK_SILENT = "webhook_silent", _("no updates")
    SUBSCRIPTION_LOST = "subscription_lost", _("subscription lost")
    SUBSCRIPTION_WRONG = "subscription_wrong", _("subscription differs")
    DIRECT_API_MISSING = "direct_api_missing", _("no direct API")
    SECRET_FAILURES = "secret_failures", _("wrong secrets")
    ROLLOUT_HELD = "rollout_held", _("rollout held")
    BACKFILL_FAILED = "backfill_failed", _("backfill failed")


T = gettext_noop
TEXTS = {
    Kind.PROFILE_QUALITY_LOW: T("Profile quality dropped to %(rate)s (threshold: %(limit)s)"),
    Kind.WEBHOOK_ERROR_RATE_HIGH: T("Webhook error rate rose to %(rate)s (threshold: %(limit)s)"),
    Kind.CACHE_CONNECTION_FAILED: T("The profile cache is unavailable: %(error)s"),
    Kind.CACHE_EVICTIONS_HIGH: T(
        "Redis evicted %(rate)s of the cached profiles in a day (threshold: %(limit)s). Raise REDIS_MAXMEMORY."
    ),
    Kind.INBOX_LAG_HIGH: T(
        "Inbox lag is %(lag)s s (threshold: %(limit)s s), pending updates: %(pending)s. Check the inbox worker."
    ),
    Kind.DEAD_LETTERS: T("Dead letters in the last day: %(count)s. Review them and replay them."),
    Kind.WEBHOOK_SILENT: T(
        "No updates for %(hours)s h of working time (threshold: %(limit)s h). Check the subscription at MAX."
    ),
    Kind.SUBSCRIPTION_LOST: T("The subscription at MAX is lost: %(found)s"),
    Kind.SUBSCRIPTION_WRONG: T("The subscription at MAX is misconfigured: %(found)s"),
    Kind.DIRECT_API_MISSING: T(
        "MAX has no direct API at %(path)s, which is not part of its published API. Check MAX_API_URL and"
        " MAX_API_USERS_PATH."
    ),
    Kind.SECRET_FAILURES: T(
        "Requests with a wrong secret in the last hour: %(count)s, accepted updates: %(accepted)s."
        " Compare WEBHOOK_SECRET with the subscription."
    ),
    Kind.ROLLOUT_HELD: T("The rollout is held: %(why)s"),
    Kind.BACKFILL_FAILED: T("Failed batches in backfill %(run)s: %(failed)s. Retry them."),
}
