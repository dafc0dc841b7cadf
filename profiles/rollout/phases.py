"""The names of the phase flags, the comparison flag and the switches, as used in the database and in commands."""

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

PHASES = ("phase1_infrastructure", "phase2_collection", "phase3_cache_first", "phase4_cache_primary")
TITLES: tuple[Promise, ...] = (_("Infrastructure"), _("Collection"), _("Gradual transition"), _("Cache primary"))
SWITCHES = ("webhook_processing", "profile_cache", "monitoring", "service_employee", "service_chat")
EMERGENCY_STOP = "emergency_stop"
SHADOW = "shadow_comparison"
# These flags depend on a hash of the phone; all other flags behave as django-waffle documents.
BUCKETED = (*PHASES, SHADOW)
# Other apps cannot use these names for flags or switches, and the rows with these names cannot be deleted.
RESERVED = frozenset({*BUCKETED, *SWITCHES, EMERGENCY_STOP})
