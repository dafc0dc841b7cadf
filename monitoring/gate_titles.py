"""What each gate is called for people; in the database, in JSON and at the terminal it has its function's name."""

from django.utils import translation
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from profiles.rollout.sentences import Sentence

GATES: dict[str, Promise] = {
    "migrated": _("Migrations"),
    "index_valid": _("Index of sources"),
    "redis_answers": _("Redis"),
    "secret_set": _("Webhook secret"),
    "monitoring_on": _("Monitoring"),
    "round_trip": _("Synthetic update"),
    "inbox_lag": _("Inbox lag"),
    "webhook_errors": _("Webhook errors"),
    "updates_arrive": _("Updates arrive"),
    "few_evictions": _("Evictions"),
    "agreement": _("Agreement"),
    "conflicts": _("Conflicts"),
    "universities": _("Universities"),
    "quality": _("Quality of profiles"),
    "rehearsed": _("Rehearsal of the way back"),
    "cohort_agreement": _("Agreement of the new cohort"),
    "cohort_errors": _("Lookups without a name"),
    "cohort_speed": _("Speed"),
    "dwell": _("Dwell time"),
    "phase3_complete": _("Phase 3 complete"),
    "no_alert": _("No open alert"),
    "no_evidence_against": _("Tripwire"),
    "step": _("One step at a time"),
    "tripwire": _("Tripwire"),
}


def title(gate: str) -> Sentence:
    """Return a gate's title as a word of a sentence that is kept, and read in any language."""
    with translation.override(None):
        return Sentence(str(GATES.get(gate, gate)))
