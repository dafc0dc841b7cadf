"""The names of the phases' flags, of the comparison's flag and of the switches, as rows and commands know them."""

PHASES = ("phase1_infrastructure", "phase2_collection", "phase3_cache_first", "phase4_cache_primary")
SWITCHES = ("webhook_processing", "profile_cache", "monitoring", "service_employee", "service_chat")
EMERGENCY_STOP = "emergency_stop"
SHADOW = "shadow_comparison"
