"""What each item of the guide's checklist is called; the models show it, and the checklist judges it."""

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

TITLES: dict[str, Promise] = {
    "backup_configuration": _("Backup current configuration files"),
    "backup_database": _("Backup database"),
    "review_usage": _("Review current API usage patterns"),
    "assess_volume": _("Assess data volume and performance requirements"),
    "plan_rollback": _("Plan rollback procedures"),
    "environment": _("Update environment variables"),
    "compose": _("Update Docker Compose configuration"),
    "migrations": _("Create database migration scripts"),
    "deploy": _("Deploy infrastructure changes"),
    "health": _("Verify service health"),
    "webhook_url": _("Configure MAX bot webhook URL"),
    "event_types": _("Enable webhook event types"),
    "webhook_endpoint": _("Test webhook endpoint"),
    "webhook_activity": _("Monitor initial webhook activity"),
    "profile_caching": _("Verify profile caching"),
    "cache_integration": _("Enable profile cache integration"),
    "creation": _("Test employee creation with profiles"),
    "usage": _("Monitor profile usage statistics"),
    "sources": _("Validate profile source tracking"),
    "database": _("Check database updates"),
    "alerts": _("Configure monitoring alerts"),
    "performance": _("Set up performance monitoring"),
    "cache_tuning": _("Optimize cache configuration"),
    "quality": _("Validate profile quality metrics"),
    "procedures": _("Document operational procedures"),
    "regression": _("Run regression tests"),
    "compatibility": _("Validate backward compatibility"),
    "system_performance": _("Monitor system performance"),
    "documentation": _("Update documentation"),
    "training": _("Train operations team"),
}
