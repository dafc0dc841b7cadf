from django.urls import path

from monitoring.api import rollout, views
from monitoring.api.alerts import AlertsView
from monitoring.api.backfill import BackfillActionView, BackfillView
from monitoring.rollout_control.approvals import VERDICTS

urlpatterns = [
    path("health", views.health),
    path("ready", views.ready),
    path("metrics", views.metrics),
    path("monitoring/profiles/coverage", views.CoverageView.as_view()),
    path("monitoring/profiles/quality", views.QualityView.as_view()),
    path("monitoring/webhook/stats", views.WebhookStatsView.as_view()),
    path("monitoring/cache-health", views.CacheHealthView.as_view()),
    path("monitoring/profile-stats", views.ProfileStatsView.as_view(), name="profile-stats"),
    path("monitoring/health", views.CacheHealthView.as_view(), name="monitoring-health"),
    path("monitoring/webhook-stats", views.OriginalWebhookStatsView.as_view(), name="webhook-stats"),
    path("monitoring/alerts", AlertsView.as_view()),
    path("monitoring/rollout", rollout.RolloutView.as_view()),
    *(path(f"monitoring/rollout/{action}", view.as_view()) for action, view in rollout.VIEWS.items()),
    path("monitoring/rollout/approvals", rollout.ApprovalsView.as_view()),
    *(
        path(f"monitoring/rollout/approvals/<int:pk>/{verdict}", rollout.DecisionView.as_view(verdict=verdict))
        for verdict in VERDICTS
    ),
    path("monitoring/backfill", BackfillView.as_view()),
    *(
        path(f"monitoring/backfill/{name}", BackfillActionView.as_view(name=name))
        for name in ("pause", "resume", "undo")
    ),
]
