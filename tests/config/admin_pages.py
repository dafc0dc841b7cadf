"""Every page of the admin, over a row of every table that it shows; the data is Cyrillic, codes are Latin."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from typing import Any

from django.contrib import admin
from django.contrib.auth.models import Permission, User
from django.db.models import Model
from django.urls import reverse
from django.utils import timezone
from rest_framework_simplejwt.token_blacklist.models import BlacklistedToken, OutstandingToken
from waffle.models import Sample, Switch

from config.lib.messages import Message, to_columns
from employees.backfill import batches
from employees.credentials.models import ApiKey
from employees.models import BackfillBatch, BackfillRun, Employee, MaxIdJob, Membership, University, UnresolvedName
from employees.naming import update_employee
from monitoring.alerts.models import Alert, Delivery
from monitoring.dashboard import urls as screens
from monitoring.indicators.models import RoundTrip
from monitoring.rollout_control.models import GateCheck, Signature
from profiles.models import PhoneLink
from profiles.models.tombstones import Erasure
from profiles.rollout.approvals import approval_of
from profiles.rollout.models import Flag, Heartbeat, Plan, UniversityRule
from profiles.rollout.phases import PHASES
from tests.monitoring.comparison_rows import compared
from tests.profiles.people import add_profile
from tests.rollout.changing import change, plan_step, request
from tests.webhooks.inbox_rows import row
from webhooks.models import DuplicateDelivery, PayloadAccess, Replay, State

# Pages with arguments.
_MORE = (
    "employees/employee/import/", "employees/employee/export/", "employees/employee/?q=нет",
    "employees/backfillrun/{run}/do/pause/", "webhooks/inboxupdate/{update}/raw-body/",
    "webhooks/inboxupdate/dead-letters/", "webhooks/inboxupdate/replay/?state__exact=dead",
    "webhooks/replay/{replay}/progress/", "webhooks/replay/{replay}/cancel/",
    "monitoring/alert/{alert}/answer/mute/", "auth/user/{user}/password/", "steer/pause/", "steer/resume/",
    "credentials/apikey/{key}/revoke/", "approvals/{approval}/",
    "steer/3/?percent=50", "steer/3/preview/?percent=50", "steer/4/preview/?percent=1",
    "steer/1/preview/?percent=x", "employees/", "waffle/", "auth/", "profiles/",
    "webhooks/", "search/?s=а", "", "password_change/", "password_change/done/",
)  # fmt: skip


def make_rows(by: User) -> dict[str, Any]:
    """Create a row of each table; return the ids that the addresses of some pages need."""
    university = University.objects.create(name="Вуз")
    add_profile("7")
    employee = Employee.objects.create(
        phone="+79160000001", last_name="Петров", first_name="Иван", max_id="7", university=university,
        profile_source="default",
    )  # fmt: skip
    update_employee(employee, {"last_name": "Сидоров"})
    UnresolvedName.objects.create(employee=employee, next_try_at=timezone.now())
    Membership.objects.create(user=User.objects.create_user("анна"), university=university)
    PhoneLink.objects.create(phone="+79160000001", user_id="7", observed_at=timezone.now())
    MaxIdJob.objects.create(requested_by=by)
    BackfillRun.objects.create(status="done", until_id=0)
    run = batches.start()
    BackfillBatch.objects.create(run=run, status="failed", after_id=0, until_id=1, rows_seen=1, error="Ошибка")
    return {
        "employee": employee.pk,
        "run": run.pk,
        "user": by.pk,
        **_webhook_rows(),
        **_rollout_rows(by, university),
        **_people_rows(by),
    }


def _webhook_rows() -> dict[str, Any]:
    update = row(State.DEAD, update_type="bot_started", tries=6, error="Ошибка", reason="ZeroDivisionError")
    for state in State:
        row(state, processing_ms=1.5, update_type="other")
    now = timezone.now()
    DuplicateDelivery.objects.create(dedup_key=b"1", update_type="other", received_at=now)
    replay = Replay.objects.create(by="анна", selection="всё", reason="сбой", count=1, queued_at=now)
    PayloadAccess.objects.create(by="анна", inbox_update_id=update.pk, update_type="bot_started", reason="жалоба")
    return {"update": update.pk, "replay": replay.pk}


def _rollout_rows(by: User, university: University) -> dict[str, Any]:
    fields = {"severity": "warning", "message": "", "words": {"count": "3"}}
    alert, _ = Alert.objects.get_or_create(kind="dead_letters", key="", resolved_at=None, defaults=fields)
    Delivery.objects.create(alert=alert, channel="webhook", event="firing", payload={}, error="ConnectTimeout", tries=1)
    change("switch", switch="profile_cache", is_on=False, by="анна", reason="замер")
    change("switch", switch="profile_cache", is_on=True, by="анна", reason="замер")
    UniversityRule.objects.create(university_id=university.pk, phase=3, reason="замер")
    Heartbeat.objects.create(process="web-1", revision=1)
    quality = Message("quality %(score)s ≥ %(limit)s", {"score": "98.5", "limit": "80.0"})
    message, sentence = to_columns(quality, 500)
    GateCheck.objects.create(phase=3, gate="quality", verdict="PASS", message=message, sentence=sentence, value=98.5)
    RoundTrip.objects.create(took_ms=1.5)
    RoundTrip.objects.create(error="not processed in time; processing is off")
    Flag.objects.create(name="проба")
    Switch.objects.create(name="проба")
    Sample.objects.create(name="проба", percent=50)
    until = timezone.now() + timedelta(days=1)
    Signature.objects.create(item="backup_database", by=by, note="готово", expires_at=until)
    compared(40, served_ms=1.5)
    compared(3, "conflict", pattern="script")
    Plan.objects.create(
        phase=3, percent=Decimal("12.5"), due_at=until, revision=1, by="анна", reason="замер", outcome="итог"
    )
    planned = plan_step(4, 1, until, by="анна", reason="замер")
    change("cancel", plan=planned.pk, by="анна", reason="замер")
    asked = request("set", phase=3, percent=1, by="анна", reason="замер")
    approval = approval_of(asked, {"percents": {PHASES[2]: "0"}}, {"percents": {PHASES[2]: "1"}}, 1)
    approval.save()
    return {"alert": alert.pk, "approval": approval.pk}


def _people_rows(by: User) -> dict[str, Any]:
    """Create a token too: it has no page, but the page that deletes its user may name it."""
    Erasure.objects.create(person="0" * 64, by="анна", reason="просьба")
    now = timezone.now()
    token = OutstandingToken.objects.create(user=by, jti="1", token="1", created_at=now, expires_at=now)
    BlacklistedToken.objects.create(token=token)
    key = ApiKey(name="Кадры", owner=by, expires_at=now + timedelta(days=1))
    key.generate()
    key.save()
    key.permissions.add(Permission.objects.get(codename="view_employee", content_type__app_label="employees"))
    return {"key": key.pk}


def _model_pages(model: type[Model], most: int) -> Iterator[str]:
    name = f"admin:{model._meta.app_label}_{model._meta.model_name}"
    yield reverse(f"{name}_changelist")
    yield reverse(f"{name}_add")
    for number, pk in enumerate(model._default_manager.values_list("pk", flat=True)[:most]):
        # The other pages show nothing of a row but its title.
        for page in ("change", "history", "delete") if not number else ("change",):
            yield reverse(f"{name}_{page}", args=[pk])


def paths(rows: dict[str, Any], *, most: int) -> list[str]:
    """Return the addresses of all pages, for at most so many rows of a table."""
    models = [path for model in admin.site._registry for path in _model_pages(model, most)]
    screens_pages = [reverse(f"screens:{page.name}") for page in screens.urlpatterns if "<" not in str(page.pattern)]
    return [*models, *screens_pages, *(f"/admin/{path}".format(**rows) for path in _MORE)]
