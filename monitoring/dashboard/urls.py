from django.urls import path

from monitoring.dashboard import (
    actions,
    approvals,
    audit,
    cache,
    checklist,
    comparisons,
    home,
    person,
    rollout,
    sources,
)

app_name = "screens"
urlpatterns = [
    path("live/home/", home.live, name="home-live"),
    path("live/rollout/", rollout.live, name="rollout-live"),
    path("live/cache/", cache.live, name="cache-live"),
    path("rollout/", rollout.overview, name="rollout"),
    path("steer/<int:phase>/", actions.step, name="step"),
    path("steer/<int:phase>/preview/", actions.step_preview, name="step-preview"),
    *(path(f"steer/{name}/", actions.act, {"name": name}, name=name) for name in actions.ACTIONS),
    path("steer/plan/<int:pk>/cancel/", actions.cancel_plan, name="plan-cancel"),
    path("approvals/<int:pk>/", approvals.review, name="approval"),
    path("rollout/check/", actions.check_gates, name="check-gates"),
    path("emergency/", actions.emergency_stop, name="emergency"),
    path("comparisons/", comparisons.explorer, name="comparisons"),
    path("comparisons/<int:pk>/person/", comparisons.open_person, name="comparison-person"),
    path("checklist/", checklist.items, name="checklist"),
    path("checklist/items/", checklist.checklist_status, name="checklist-items"),
    path("sources/", sources.distribution, name="sources"),
    path("sources.csv", sources.export, name="sources-export"),
    path("cache/", cache.health, name="cache"),
    path("audit/", audit.audit_log, name="audit"),
    path("person/", person.look_up, name="person"),
    path("person/export/", person.export, name="person-export"),
]
