"""What each gate is called for people; in the database, in JSON and at the terminal it has a name of its own."""

from django.utils import translation
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from config.lib.messages import Message
from monitoring.indicators.titles import TITLES

# The gates that ask no more than whether an indicator is within its limit.
INDICATOR_OF = {
    "migrated": "migrations_missing",
    "index_valid": "source_index_valid",
    "redis_answers": "redis_connected",
    "secret_set": "webhook_secret_set",
    "monitoring_on": "monitoring_on",
    "round_trip": "round_trip",
    "inbox_lag": "inbox_lag",
    "webhook_errors": "webhook_error_rate",
    "updates_arrive": "seconds_since_update",
    "few_evictions": "evictions",
    "agreement": "agreement",
    "conflicts": "conflicts",
    "universities": "universities_standing_out",
    "quality": "profile_quality",
    "no_evidence_against": "reason_against",
}
GATES: dict[str, Promise] = {gate: TITLES[name] for gate, name in INDICATOR_OF.items()} | {
    "rehearsed": _("Rehearsal of the way back"),
    "cohort_agreement": _("Agreement of the new cohort"),
    "cohort_errors": _("Lookups without a name"),
    "cohort_speed": _("Speed"),
    "dwell": _("Dwell time"),
    "phase3_complete": _("Phase 3 complete"),
    "no_alert": _("No open alert"),
    "step": _("One step at a time"),
    "tripwire": _("Tripwire"),
}


def title_message(title: str | Promise) -> Message:
    """Return a title as a word of a sentence that is stored, and read in any language."""
    with translation.override(None):
        return Message(str(title))
