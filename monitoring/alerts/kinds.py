"""The kinds of alerts, and the sentence of each; its words are filled in from ``Alert.words``."""

from __future__ import annotations

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
    SECRET_FAILURES = "secret_failures", _("wrong secrets")
    ROLLOUT_HELD = "rollout_held", _("rollout held")
    BACKFILL_FAILED = "backfill_failed", _("backfill failed")


T = gettext_noop
TEXTS = {
    Kind.PROFILE_QUALITY_LOW: T("Profile quality dropped to %(rate)s (threshold: %(limit)s)"),
    Kind.WEBHOOK_ERROR_RATE_HIGH: T("Webhook error rate rose to %(rate)s (threshold: %(limit)s)"),
    Kind.CACHE_CONNECTION_FAILED: T("The profile cache cannot be reached: %(error)s"),
    Kind.CACHE_EVICTIONS_HIGH: T("Redis evicted %(rate)s of the cached profiles in a day (threshold: %(limit)s)"),
    Kind.INBOX_LAG_HIGH: T("Updates wait: %(pending)s, the oldest for %(lag)s s (threshold: %(limit)s s)"),
    Kind.DEAD_LETTERS: T("Dead letters of the last day: %(count)s"),
    Kind.WEBHOOK_SILENT: T("No update for %(hours)s h of working time (threshold: %(limit)s h)"),
    Kind.SUBSCRIPTION_LOST: T("The subscription at MAX is lost: %(found)s"),
    Kind.SUBSCRIPTION_WRONG: T("The subscription at MAX differs: %(found)s"),
    Kind.SECRET_FAILURES: T(
        "Requests of the last hour with a wrong secret: %(count)s, updates with a right one: %(accepted)s"
    ),
    Kind.ROLLOUT_HELD: T("The rollout is held: %(why)s"),
    Kind.BACKFILL_FAILED: T("Failed batches of backfill %(run)s: %(failed)s"),
}
