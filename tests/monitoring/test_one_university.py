"""A membership: the pages about all universities are refused with the reason, other pages show one university."""

import pytest
from django.contrib.auth.models import Group, User
from django.test import Client
from django.urls import reverse

from employees.models import BackfillRun, Employee, Membership, RunStatus, University
from monitoring.alerts.kinds import Kind
from monitoring.alerts.models import Alert
from profiles.rollout.models import Change, UniversityRule
from tests.conftest import Phases
from tests.monitoring.comparison_rows import compared
from tests.rollout.changing import change
from tests.webhooks.inbox_rows import row
from webhooks.models import State

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("redis")]

PAGES = [
    "audit/",
    "sources/",
    "sources.csv",
    "comparisons/",
    "webhooks/inboxupdate/",
    "webhooks/inboxupdate/{update}/change/",
    "webhooks/inboxupdate/{update}/history/",
    "webhooks/inboxupdate/dead-letters/",
    "webhooks/inboxupdate/replay/?state__exact=dead",
    "webhooks/inboxupdate/{update}/replay-one/",
    "webhooks/duplicatedelivery/",
    "webhooks/replay/",
    "profiles/comparison/",
]
WHY = "limited to one university"


def operator(name: str, *groups: str) -> Client:
    user = User.objects.create_user(name, is_staff=True)
    user.groups.add(*Group.objects.filter(name__in=("operator", *groups)))
    client = Client()
    client.force_login(user)
    client.cookies["django_language"] = "en"
    return client


@pytest.fixture
def own(university: University) -> Client:
    client = operator("own")
    Membership.objects.create(user=User.objects.get(username="own"), university=university)
    return client


@pytest.mark.long
@pytest.mark.parametrize("path", PAGES)
def test_it_works(own: Client, path: str) -> None:
    update, whole = row(State.DEAD), operator("whole")
    path = f"/admin/{path.format(update=update.pk)}"
    refused = own.get(path)
    assert refused.status_code == 403
    assert WHY in refused.content.decode()
    assert whole.get(path).status_code in (200, 302)


def test_it_refuses_replays_and_bodies(own: Client) -> None:
    user = User.objects.get(username="own")
    user.groups.add(Group.objects.get(name="data_protection_officer"))
    update = row(State.DEAD)
    for path in ("replay/?state__exact=dead", f"{update.pk}/raw-body/"):
        assert own.post(f"/admin/webhooks/inboxupdate/{path}", {"reason": "r"}).status_code == 403
    assert own.post("/admin/webhooks/inboxupdate/", {"action": "replay_selected"}).status_code == 403
    update.refresh_from_db()
    assert update.state == State.DEAD


def test_backfills_are_those_of_the_university(own: Client, university: University) -> None:
    other = University.objects.create(name="Другой")
    done = {"status": RunStatus.DONE, "until_id": 0}
    theirs = BackfillRun.objects.create(university=university, **done)
    foreign = [BackfillRun.objects.create(university=one, **done) for one in (None, other)]
    runs = "/admin/employees/backfillrun/"
    assert list(own.get(runs).context["cl"].result_list) == [theirs]
    assert own.get(f"{runs}{theirs.pk}/progress/").status_code == 200
    for run in foreign:
        assert own.get(f"{runs}{run.pk}/progress/").status_code == 404
        assert own.post(f"{runs}{run.pk}/do/undo/", {"reason": "r"}).status_code == 404
    own.post(f"{runs}{theirs.pk}/do/undo/", {"reason": "r"})
    assert list(BackfillRun.objects.filter(status=RunStatus.UNDOING)) == [theirs]


def test_a_backfill_covers_the_own_university_only(own: Client, university: University) -> None:
    other = University.objects.create(name="Другой")
    given = {"batch_target_ms": 100, "pause_ms": 0, "reason": "tested"}
    for refused in ({}, {"university": other.pk}):
        page = own.post("/admin/employees/backfillrun/add/", given | refused)
        assert "university" in page.context["adminform"].errors
    assert not BackfillRun.objects.exists()
    own.post("/admin/employees/backfillrun/add/", given | {"university": university.pk})
    assert BackfillRun.objects.get().university == university


def test_a_second_backfill_waits_for_a_foreign_one(own: Client) -> None:
    BackfillRun.objects.create(until_id=0)
    answer = own.get("/admin/employees/backfillrun/add/", follow=True)
    assert answer.redirect_chain == [("/admin/employees/backfillrun/", 302)]
    assert "Only one backfill can be open at a time." in answer.content.decode()


@pytest.mark.long
@pytest.mark.parametrize("answer", ["acknowledge", "mute", "unmute"])
def test_it_refuses_answers_to_alerts(own: Client, answer: str) -> None:
    alert = Alert.objects.create(kind=Kind.DEAD_LETTERS, severity="warning", message="m", words={"count": "1"})
    page = f"/admin/monitoring/alert/{alert.pk}/"
    assert f"{page}answer/" not in own.get(f"{page}change/").content.decode()
    refused = own.post(f"{page}answer/{answer}/", {"hours": 1, "reason": "r"})
    assert refused.status_code == 403
    assert "access to all of them" in refused.content.decode()
    alert.refresh_from_db()
    assert (alert.acknowledged_at, alert.muted_until) == (None, None)
    assert operator("whole").get(f"{page}answer/{answer}/").status_code == 200


def test_it_allows_the_emergency_stop(own: Client, phases: Phases) -> None:
    phases(100, 100)
    assert own.get("/admin/emergency/").status_code == 200


@pytest.mark.long
def test_the_sidebar_does_not_offer_refused_pages(own: Client) -> None:
    pages = ("screens:audit", "screens:sources", "screens:comparisons", "admin:webhooks_inboxupdate_dead_letters")
    for client, is_offered in ((own, False), (operator("whole"), True)):
        page = client.get("/admin/rollout/").content.decode()
        for name in pages:
            assert (f'href="{reverse(name)}"' in page) is is_offered, name


def test_a_preview_shows_no_names(own: Client, phases: Phases, university: University) -> None:
    phases(100, 100)
    compared(1)
    Employee.objects.create(phone="+79160000001", last_name="Петров", university=university)
    path = "/admin/steer/3/preview/?percent=100"
    assert "Петров" not in own.get(path).content.decode()
    assert "Петров" in operator("whole").get(path).content.decode()


def test_a_preview_counts_no_other_university(own: Client, phases: Phases, university: University) -> None:
    phases(100, 100)
    other = University.objects.create(name="Другой")
    for number, one in enumerate((university, other, other)):
        Employee.objects.create(phone=f"+7916000000{number}", university=one)
    path = "/admin/steer/3/preview/?percent=100"
    seen, whole = (client.get(path) for client in (own, operator("whole")))
    assert [share.name for share in seen.context["preview"].universities] == [university.name]
    assert (seen.context["preview"].total, whole.context["preview"].total) == (1, 3)
    assert "Другой" not in seen.content.decode()
    assert "Другой" in whole.content.decode()


def test_reports_count_no_employees_of_other_universities(own: Client, university: University) -> None:
    other = University.objects.create(name="Другой")
    for number, one in enumerate((university, other, other)):
        Employee.objects.create(phone=f"+7916000000{number}", university=one)
    for path in ("/monitoring/profiles/coverage", "/monitoring/profile-stats"):
        seen, whole = (client.get(path).json()["employees_by_source"] for client in (own, operator(path)))
        assert (seen, whole) == ({"manual": 1}, {"manual": 3})


def test_rules_of_other_universities_are_not_listed(own: Client, university: University) -> None:
    other = University.objects.create(name="Другой")
    for one in (university, other):
        UniversityRule.objects.create(university_id=one.pk, reason=f"because of {one.pk}")
    for path in ("/admin/rollout/", "/admin/rollout/universityrule/"):
        page = own.get(path).content.decode()
        assert f"because of {university.pk}" in page
        assert f"because of {other.pk}" not in page
    assert f"because of {other.pk}" in operator("whole").get("/admin/rollout/").content.decode()


@pytest.mark.long
def test_changes_of_foreign_rules_are_not_shown(own: Client, university: University, phases: Phases) -> None:
    phases(100, 100)
    other = University.objects.create(name="Другой")
    for one in (university, other):
        why = {"by": "anna", "reason": f"because of {one.pk}"}
        scope = UniversityRule(university_id=one.pk)
        change("scope", rule=scope, **why)
        change("scope", rule=scope, is_on=False, **why)
        change("rehearsal", facts={"university": one.pk}, **why)
    change("pause", by="anna", reason="for everybody")
    for path in ("/admin/rollout/", "/admin/rollout/change/"):
        page, whole = (client.get(path).content.decode() for client in (own, operator(path)))
        assert [page.count(f"because of {one.pk}") for one in (university, other)] == [3, 0]
        assert [whole.count(f"because of {one.pk}") for one in (university, other)] == [3, 3]
        assert "for everybody" in page
    foreign = Change.objects.filter(reason=f"because of {other.pk}").latest("pk")
    assert own.get(f"/admin/rollout/change/{foreign.pk}/change/").status_code == 302


def test_rules_are_made_for_the_own_university(own: Client, university: University) -> None:
    User.objects.get(username="own").groups.add(Group.objects.get(name="rollout_manager"))
    other = University.objects.create(name="Другой")
    form = {"phase": 3, "is_allowed": "on", "reason": "pilot"}
    refused = own.post("/admin/rollout/universityrule/add/", form | {"university_id": other.pk})
    assert "university_id" in refused.context["adminform"].form.errors
    assert "Другой" not in own.get("/admin/rollout/universityrule/add/").content.decode()
    assert own.post("/admin/rollout/universityrule/add/", form | {"university_id": university.pk}).status_code == 302


def test_anonymous_users_are_sent_to_the_login() -> None:
    for path in PAGES:
        answer = Client().get(f"/admin/{path.format(update=1)}")
        assert answer["Location"].startswith("/admin/login/")


@pytest.mark.long
@pytest.mark.parametrize("language", ["en", "ru"])
@pytest.mark.parametrize("path", ["rollout/", "live/rollout/", "steer/3/preview/?percent=1"])
def test_the_figures_of_another_university_are_hidden(
    own: Client, university: University, phases: Phases, path: str, language: str
) -> None:
    phases(100, 100)
    other = University.objects.create(name="Другой")
    compared(700, "conflict", university_id=other.pk)
    compared(1400, university_id=university.pk)
    whole = operator("whole")
    pages = {}
    for name, client in (("own", own), ("whole", whole)):
        client.cookies["django_language"] = language
        pages[name] = client.get(f"/admin/{path}").content.decode()
    count = {"en": "universities with wrong cached names: 1", "ru": "вузов с неверными именами в кэше: 1"}[language]
    assert count in pages["own"]
    assert count in pages["whole"]
    assert "n = 700" in pages["whole"]
    assert "n = 700" not in pages["own"]
    assert other.name not in pages["own"]
