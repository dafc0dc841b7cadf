"""While a synchronous standby is lost, what waits for it gives up in time, and says that it is stored here."""

import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import psycopg
import pytest
from allauth.mfa.models import Authenticator
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Group, User
from django.db import OperationalError, connection, transaction
from django.http import HttpRequest
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from pytest_django.fixtures import Settings
from redis import Redis
from rest_framework.test import APIClient

from config.postgres import base, locks
from config.postgres.base import (
    CommitNotConfirmed,
    CommitUnanswered,
    DatabaseWrapper,
    DeadlineConnection,
    parameters,
    without_standby,
)
from employees.credentials import single_sign_on
from employees.models import BackfillRun, Employee, IdempotentRequest, University
from monitoring.rollout_control import controller
from profiles import cache
from profiles.max_api import users
from profiles.models import Erasure, PhoneLink, Profile
from profiles.personal_data import erasure
from profiles.rollout import changes
from profiles.rollout.models import Approval, Plan, UniversityRule
from profiles.tasks import refill_cache
from tests.profiles.fake_max import FakeMax
from tests.profiles.people import add_profile
from tests.rollout import test_lost_standby
from tests.rollout.changing import change, plan_step
from tests.rollout.test_lost_standby import HERE_ONLY, PATIENCE, ROW, Site, commits_within
from tests.servers import FaultyServer
from tests.waiting import seconds_until
from tests.webhooks.inbox_rows import row
from webhooks.models import State
from webhooks.processing import process_inbox

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("patient_cancellations")]
site, no_cancellation = test_lost_standby.site, test_lost_standby.no_cancellation
PHONE = "+79161234567"
_SLOW_COMMITS = """
CREATE FUNCTION wait_for_half_a_second() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN PERFORM pg_sleep(0.5); RETURN NULL; END $$;
CREATE CONSTRAINT TRIGGER slow_commit AFTER INSERT ON universities DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION wait_for_half_a_second();
"""


@pytest.fixture
def web(site: Site, monkeypatch: pytest.MonkeyPatch) -> Site:
    """Limit the commits as in a web process, but to half a second."""
    monkeypatch.setattr(locks, "COMMIT_SECONDS", 0.5)
    monkeypatch.setattr(DatabaseWrapper, "commit_seconds", 0.0)
    locks.limit_commits()
    return site


def events(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [getattr(record, "event", "") for record in caplog.records]


@pytest.mark.long
def test_the_api_says_what_is_stored(web: Site, direct: FakeMax) -> None:
    """What a create stores before the employee does not wait: its error would claim that the employee is stored."""
    direct.knows(PHONE, 8)
    with without_standby():
        add_profile("7")
    employee = {"phone": PHONE, "university_name": "Новый вуз"}
    for method, path, body in (
        ("post", "/employees", employee),
        ("put", "/profiles/7", {"max_first_name": "Анна"}),
        ("post", "/universities", {"name": "Вуз"}),
    ):
        with commits_within(PATIENCE, web):
            answer = getattr(web.api, method)(path, body, format="json", HTTP_IDEMPOTENCY_KEY="k")
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "NOT_CONFIRMED"), path
        assert "Retry-After" not in answer.headers
        assert HERE_ONLY in answer.json()["error"]["message"]
    assert Employee.objects.get().first_name == "Олег"
    assert Profile.objects.get(pk="7").first_name == "Анна"
    assert University.objects.filter(name="Вуз").exists()


@pytest.mark.long
def test_a_refused_create_is_refused(web: Site) -> None:
    """What forgets its key stores nothing that anybody asked for."""
    with commits_within(PATIENCE, web):
        answer = web.api.post("/employees", {"phone": "1"}, format="json", HTTP_IDEMPOTENCY_KEY="k")
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "VALIDATION_ERROR")
    assert not IdempotentRequest.objects.exists()


@pytest.mark.long
def test_a_repeated_create_waits_again(web: Site) -> None:
    """The standby may not have confirmed the first answer."""
    employee = {"phone": PHONE, "first_name": "Анна", "last_name": "Иванова", "university_name": "Вуз"}
    for _ in range(2):
        with commits_within(PATIENCE, web):
            answer = web.api.post("/employees", employee, format="json", HTTP_IDEMPOTENCY_KEY="k")
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "NOT_CONFIRMED")
    assert Employee.objects.count() == 1


@pytest.mark.long
def test_a_page_says_what_is_stored(web: Site) -> None:
    for path, form in (
        ("/admin/employees/university/add/", {"name": "Вуз"}),
        (reverse("screens:person"), {"who": "7"}),
    ):
        with commits_within(PATIENCE, web):
            page = web.admin.post(path, form)
        assert (page.status_code, "Retry-After" in page.headers) == (503, False)
        assert page.content.decode().count("Stored, not confirmed") == 2
        assert HERE_ONLY in page.content.decode()
    assert University.objects.filter(name="Вуз").exists()


@pytest.mark.long
def test_all_selected_people_are_erased(web: Site) -> None:
    with without_standby():
        for user_id in "123":
            add_profile(user_id)
    chosen = {"action": "delete_selected", "_selected_action": [*"123"], "post": "yes", "reason": "asked to"}
    with commits_within(PATIENCE, web):
        page = web.admin.post("/admin/profiles/profile/", chosen)
    assert (page.status_code, "Stored, not confirmed" in page.content.decode()) == (503, True)
    assert (Erasure.objects.count(), Profile.objects.count()) == (3, 0)


@pytest.mark.long
def test_without_a_connection_nothing_is_confirmed(site: Site) -> None:
    @locks.confirmed_together()
    def erase_and_lose() -> None:
        erasure.erase("7", by="x", reason="r")
        connection.close()
        patch.setitem(connection.settings_dict, "HOST", "/nowhere")

    with pytest.MonkeyPatch.context() as patch, commits_within(PATIENCE, site), pytest.raises(CommitNotConfirmed):
        erase_and_lose()


@pytest.mark.long
def test_each_action_on_rows_is_done_and_logged(web: Site, superadmin: User, caplog: pytest.LogCaptureFixture) -> None:
    """The first row that is not confirmed does not end the action."""
    with without_standby():
        accounts = [superadmin, User.objects.create_user("u")]
        university = University.objects.create(name="u")
        run = BackfillRun.objects.create(until_id=1, started_by="olga", reason="r")
        add_profile("7")
        people = [
            Employee.objects.create(
                phone=f"+7916000000{n}", max_id="7", university=university, profile_source="default"
            )
            for n in range(2)
        ]
        for each in accounts:
            Authenticator.objects.create(user_id=each.pk, type=Authenticator.Type.TOTP, data={})
        web.admin.force_login(superadmin)
    for path, form, logged in (
        (f"employees/backfillrun/{run.pk}/do/pause/", ROW, 1),
        ("employees/employee/", {"action": "refresh_from_cache", "_selected_action": [each.pk for each in people]}, 1),
        ("auth/user/", {"action": "reset_second_factors", "_selected_action": [each.pk for each in accounts]}, 2),
    ):
        before = LogEntry.objects.count()
        with commits_within(PATIENCE, web):
            page = web.admin.post(f"/admin/{path}", form)
        assert (page.status_code, page.content.decode().count("Stored, not confirmed")) == (503, 2), path
        assert LogEntry.objects.count() - before == logged, path
    assert BackfillRun.objects.get().status == "paused"
    assert set(Employee.objects.values_list("first_name", "profile_source")) == {("Иван", "webhook")}
    assert not Authenticator.objects.exists()
    assert events(caplog).count("second_factor_reset") == len(accounts)


@pytest.mark.long
def test_all_selected_rows_are_deleted(web: Site) -> None:
    """Django logs the deletions in one transaction, and deletes in another."""
    with without_standby():
        rows: list[Any] = [University.objects.create(name=name) for name in "ab"]
        links = [PhoneLink.objects.create(phone=f"+7916000000{n}", user_id=n, observed_at=timezone.now()) for n in "12"]
    for page, chosen in (("profiles/phonelink", links), ("employees/university", rows)):
        form = {"action": "delete_selected", "_selected_action": [row.pk for row in chosen], "post": "yes"}
        with commits_within(PATIENCE, web):
            answer = web.admin.post(f"/admin/{page}/", form)
        assert (answer.status_code, "Stored, not confirmed" in answer.content.decode()) == (503, True), page
    assert not PhoneLink.objects.exists()
    assert not University.objects.filter(pk__in=[row.pk for row in rows]).exists()


@pytest.mark.long
def test_a_refused_action_does_not_wait(web: Site) -> None:
    with without_standby():
        run = BackfillRun.objects.create(until_id=1, status="paused", started_by="olga", reason="r")
        change("pause")
    with commits_within(PATIENCE, web):
        page = web.admin.post(f"/admin/employees/backfillrun/{run.pk}/do/resume/", ROW, follow=True)
    assert (page.status_code, "resume it first" in page.content.decode()) == (200, True)


@pytest.mark.long
@pytest.mark.usefixtures("no_cancellation")
def test_a_commit_without_an_answer_may_be_stored(web: Site) -> None:
    with commits_within(PATIENCE, web):
        answer = web.api.post("/universities", {"name": "Вуз"}, format="json")
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "MAYBE_STORED")
    assert "Retry-After" not in answer.headers, "a client that repeats a change may do it twice"
    with commits_within(PATIENCE, web):
        page = web.admin.post("/admin/employees/university/add/", {"name": "Институт"})
    assert page.content.decode().count("Possibly stored") == 2


@pytest.mark.long
def test_a_server_that_dies_during_a_commit_may_have_stored_it(site: Site, durable_postgres: FaultyServer) -> None:
    def kill() -> None:
        seconds_until(site.waiting)
        durable_postgres.kill()

    thread = threading.Thread(target=kill)
    thread.start()
    with pytest.raises(CommitUnanswered), transaction.atomic():
        University.objects.create(name="Вуз")
    thread.join()


@pytest.mark.long
def test_look_ups_in_max_do_not_wait(web: Site, direct: FakeMax) -> None:
    direct.knows(PHONE, 8)
    with commits_within(PATIENCE, web):
        assert users.lookup_once(PHONE)
        assert users.fetch_users([PHONE])


def test_the_cache_is_filled_without_it(web: Site, redis: Redis) -> None:
    with without_standby():
        add_profile("7")
    redis.flushall()
    with commits_within(PATIENCE, web):
        assert refill_cache() == 1
        redis.delete(cache.key_of("7"))
        assert cache.find("7").record
    assert redis.exists(cache.key_of("7"))


@pytest.fixture
def slow_commits() -> Iterator[None]:
    with connection.cursor() as cursor:
        cursor.execute(_SLOW_COMMITS)
        yield
        cursor.execute("DROP FUNCTION wait_for_half_a_second CASCADE")


@pytest.mark.long
@pytest.mark.usefixtures("slow_commits")
def test_a_commit_that_ends_before_its_cancellation_is_a_success(monkeypatch: pytest.MonkeyPatch) -> None:
    cancelled: list[float] = []
    monkeypatch.setattr(DatabaseWrapper, "commit_seconds", 0.01)
    monkeypatch.setattr(base, "_COMMIT_CANCEL_SECONDS", PATIENCE)
    monkeypatch.setattr(DeadlineConnection, "cancel_safe", lambda self, timeout: cancelled.append(timeout))
    with transaction.atomic():
        University.objects.create(name="Вуз")
        wrapper: Any = connection
        wrapper._began_at = time.monotonic()
    assert cancelled == [PATIENCE]
    assert not connection.connection.closed
    assert University.objects.filter(name="Вуз").exists()


def test_a_commit_that_fails_stores_nothing(university: University, monkeypatch: pytest.MonkeyPatch) -> None:
    """A commit checks foreign keys. That may wait for a lock, and takes long after a long transaction."""
    monkeypatch.setattr(DatabaseWrapper, "commit_seconds", 0.3)
    with psycopg.connect(**parameters()) as holder:
        holder.execute("SELECT 1 FROM universities FOR UPDATE")
        with pytest.raises(OperationalError) as failed, transaction.atomic():
            Employee.objects.create(phone=PHONE, university=university)
        assert not isinstance(failed.value, CommitNotConfirmed)
        assert not Employee.objects.exists()
        with transaction.atomic():
            Employee.objects.create(phone=PHONE, university=university)
            wrapper: Any = connection
            wrapper._began_at -= 60
            threading.Timer(1, holder.rollback).start()
    assert Employee.objects.exists()


@pytest.mark.long
def test_the_inbox_is_processed_without_it(site: Site) -> None:
    body = b'{"type":"message_new","message":{"from":{"user_id":"7","first_name":"Anna","last_name":"Volkova"}}}'
    with without_standby():
        row(State.PENDING, body=body, update_type="message_new")
    with commits_within(PATIENCE, site):
        assert process_inbox() == 1
    assert Profile.objects.get().first_name == "Anna"


@pytest.mark.long
def test_single_sign_on_waits_only_if_it_takes_a_right(
    web: Site, superadmin: User, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    settings.OIDC_GROUPS_CLAIM = "groups"
    request: Any = SimpleNamespace(META=HttpRequest().META)

    def log_in(*groups: str) -> None:
        with without_standby(), commits_within(PATIENCE, web):
            single_sign_on._set_groups(request, superadmin, {"groups": list(groups)})

    log_in("operator")
    assert Group.objects.filter(user=superadmin).exists()
    with pytest.raises(CommitNotConfirmed):
        log_in()
    assert events(caplog).count("groups_changed") == 2
    log_in()
    assert not Group.objects.filter(user=superadmin).exists()


@pytest.mark.long
def test_the_controller_goes_on_after_a_step(
    site: Site, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(locks, "COMMIT_SECONDS", 0.5)
    monkeypatch.setattr(changes, "_gate_checks", [lambda *_: ([], None)])
    monkeypatch.setattr(controller, "check", lambda: ["checked"])
    with without_standby():
        plan_step(3, 25, timezone.now() + timedelta(hours=1))
        Plan.objects.update(due_at=timezone.now())
    with commits_within(PATIENCE, site):
        assert controller.run() == ["1 planned step", "checked"]
    assert "step_not_confirmed" in events(caplog)
    assert site.percent() == 25


@pytest.mark.long
def test_a_request_for_approval_is_one(
    site: Site, superadmin: User, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when it is repeated, as the standby has not confirmed the first one either."""
    monkeypatch.setattr(locks, "COMMIT_SECONDS", 0.5)
    settings.ROLLOUT_APPROVALS = True
    with without_standby():
        university = University.objects.create(name="u")
    rule = {"university_id": university.pk, "phase": 3, "is_allowed": "on", "reason": "r"}
    for _ in range(2):
        with commits_within(PATIENCE, site):
            page = site.admin.post("/admin/rollout/universityrule/add/", rule, follow=True).content.decode()
        assert HERE_ONLY in page
        assert "is waiting for approval until" in page
    with without_standby():
        change("pause")
    # A form that is refused stores nothing.
    with commits_within(PATIENCE, site):
        page = site.admin.post("/admin/rollout/universityrule/add/", rule, follow=True).content.decode()
    assert "paused" in page
    for _ in range(2):
        with commits_within(PATIENCE, site):
            answer = site.api.post("/monitoring/rollout/resume", {"reason": "r"}, format="json")
        assert (answer.status_code, answer.json()["error"]["code"]) == (409, "APPROVAL_REQUIRED")
        assert HERE_ONLY in answer.json()["error"]["message"]
    assert (Approval.objects.count(), UniversityRule.objects.count()) == (2, 0)


@pytest.mark.long
def test_a_key_is_used_without_it(site: Site) -> None:
    # It opens a connection too.
    with commits_within(PATIENCE, site):
        site.key.record_use()
    site.key.refresh_from_db()
    assert site.key.last_used_at


@pytest.mark.long
def test_people_log_in_without_it(site: Site, superadmin: User) -> None:
    with without_standby():
        superadmin.set_password("right-secret-1")
        superadmin.save()
    fields = {"username": superadmin.username, "password": "right-secret-1"}
    with commits_within(PATIENCE, site):
        pair = site.api.post("/api/token", fields, format="json")
        assert pair.status_code == 200, pair.content
        renewed = APIClient().post("/api/token/refresh", {"refresh": pair.json()["refresh"]}, format="json")
        assert renewed.status_code == 200, renewed.content
    browser = Client()
    with commits_within(PATIENCE, site):
        assert browser.post("/admin/login/", {"login": superadmin.username} | fields).status_code == 302
    with commits_within(PATIENCE, site):
        assert browser.get("/admin/rollout/").status_code == 200


@pytest.mark.parametrize(
    ("error", "words"), [(CommitNotConfirmed, HERE_ONLY), (CommitUnanswered, "it is unknown whether")]
)
def test_single_sign_on_is_no_read(
    error: type[Exception], words: str, client: Client, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its code can be used only once, so the page must not ask the user to try again."""

    def log_in(*_arguments: object) -> None:
        raise error

    monkeypatch.setattr(single_sign_on, "_with_provider", log_in)
    page = client.get(reverse("openid_connect_callback", args=["sso"]))
    assert (page.status_code, page.has_header("Retry-After")) == (503, False)
    assert words in page.content.decode()
