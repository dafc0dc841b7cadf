"""Titles of gates and checklist items for people. The database, JSON and command options use the names instead."""

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from monitoring.indicators.labels import TITLES

# The gates that pass while an indicator is within its limit, and the name of that indicator.
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
    "rehearsed": _("Rollback rehearsal"),
    "cohort_agreement": _("Agreement in the new cohort"),
    "cohort_errors": _("Lookups without a name"),
    "cohort_speed": _("Lookup speed"),
    "dwell": _("Dwell time"),
    "phase3_complete": _("Phase 3 complete"),
    "no_alert": _("No open alert"),
    "step": _("One step at a time"),
    "tripwire": _("Tripwire"),
}
# The migration checklist; most items have the wording of the migration guide.
CHECKLIST: dict[Promise, dict[str, Promise]] = {
    _("Pre-Migration"): {
        "backup_configuration": _("Backup current configuration files"),
        "backup_database": _("Backup database"),
        "review_usage": _("Review current API usage patterns"),
        "assess_volume": _("Assess data volume and performance requirements"),
        "plan_rollback": _("Plan rollback procedures"),
    },
    _("Infrastructure Setup"): {
        "environment": _("Update environment variables"),
        "compose": _("Update Docker Compose configuration"),
        "migrations": _("Create database migration scripts"),
        "deploy": _("Deploy infrastructure changes"),
        "health": _("Verify service health"),
    },
    _("Webhook Configuration"): {
        "webhook_url": _("Configure MAX bot webhook URL"),
        "event_types": _("Enable webhook event types"),
        "webhook_endpoint": _("Test webhook endpoint"),
        "webhook_activity": _("Monitor initial webhook activity"),
        "profile_caching": _("Verify profile caching"),
    },
    _("Integration Enablement"): {
        "cache_integration": _("Enable profile cache integration"),
        "creation": _("Test employee creation with profiles"),
        "usage": _("Monitor profile usage statistics"),
        "sources": _("Validate profile source tracking"),
        "database": _("Check that profiles are written to the database"),
    },
    _("Monitoring and Optimization"): {
        "alerts": _("Configure monitoring alerts"),
        "performance": _("Set up performance monitoring"),
        "cache_tuning": _("Optimize cache configuration"),
        "quality": _("Validate profile quality metrics"),
        "procedures": _("Document operational procedures"),
    },
    _("Post-Migration"): {
        "regression": _("Run regression tests"),
        "compatibility": _("Validate backward compatibility"),
        "system_performance": _("Monitor system performance"),
        "documentation": _("Update documentation"),
        "training": _("Train operations team"),
    },
}
CHECKLIST_ITEMS = {name: title for items in CHECKLIST.values() for name, title in items.items()}
