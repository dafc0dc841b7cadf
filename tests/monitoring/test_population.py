"""Coverage and quality equal a recount of the raw tables by other means, whatever the population."""

from datetime import datetime, timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection, transaction
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from employees.backfill import batches
from employees.models import Employee, University
from monitoring.stats import cached, reports
from monitoring.stats.models import CachedStatistic
from profiles.models import PhoneLink, Profile
from profiles.rollout.decision import forget_state
from profiles.rollout.models import UniversityRule
from tests.conftest import Phases

TTL = timedelta(days=30)
DAY = timedelta(days=1)
ACTIONS = ["data_issues", "backfill start", "PROFILE_TTL", "batch-update-max-id"]

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("redis", "phases")]

_FRESH = {"first_name": "Иван", "last_name": "Петров", "user_provided_name": None, "age": DAY}

names = st.sampled_from([None, "", "Иван"])
profiles = st.fixed_dictionaries(
    {
        "user_id": st.integers(1, 8).map(str),
        "first_name": names,
        "last_name": names,
        "user_provided_name": names,
        "is_first_name_real": st.booleans(),
        "age": st.sampled_from([timedelta(), DAY, 29 * DAY, 31 * DAY, 400 * DAY]),
    }
)
employees = st.fixed_dictionaries(
    {
        "max_id": st.one_of(st.none(), st.integers(1, 10).map(str)),
        "profile_source": st.sampled_from(["webhook", "user_input", "api", "manual", "default"]),
        "university": st.integers(0, 1),
    }
)


def insert_people(people: list[dict[str, Any]], staff: list[dict[str, Any]]) -> None:
    now = timezone.now()
    Profile.objects.bulk_create(
        Profile(
            last_updated=now - fields["age"],
            **{name: value for name, value in fields.items() if name != "age"},
            **{
                f"{name}_set_at": None if fields[name] is None else now
                for name in ("first_name", "last_name", "user_provided_name")
            },
        )
        for fields in people
    )
    universities = [University.objects.create(name=f"Вуз {number}") for number in range(2)]
    Employee.objects.bulk_create(
        Employee(phone=f"+7916{number:07d}", **{**fields, "university": universities[fields["university"]]})
        for number, fields in enumerate(staff)
    )


def is_complete(profile: Profile) -> bool:
    return bool(profile.first_name) and profile.last_name is not None


def is_named(profile: Profile | None) -> bool:
    return profile is not None and bool(profile.first_name or profile.last_name or profile.user_provided_name)


def has_full_name(profile: Profile | None) -> bool:
    return profile is not None and bool((profile.first_name and profile.last_name) or profile.user_provided_name)


def recounted_coverage() -> dict[str, Any]:
    known = {profile.user_id: profile for profile in Profile.objects.all()}
    staff = list(Employee.objects.all())
    taken = {employee.max_id for employee in staff}
    users = [known.get(employee.max_id or "") for employee in staff]
    users += [profile for user_id, profile in known.items() if user_id not in taken]
    named, full = sum(map(is_named, users)), sum(map(has_full_name, users))
    return {
        "total_users": len(users),
        "users_with_profiles": named,
        "users_with_full_names": full,
        "coverage_percentage": round(100 * named / len(users), 2) if users else 0,
        "full_name_percentage": round(100 * full / len(users), 2) if users else 0,
    }


def recounted_quality(now: datetime) -> dict[str, Any]:
    known = list(Profile.objects.all())
    complete, empty = sum(map(is_complete, known)), sum(not is_named(profile) for profile in known)
    stale = sum(profile.last_updated <= now - TTL for profile in known)
    partial, total = len(known) - complete - empty, len(known) or 1
    completeness, freshness = 100 * (complete + partial / 2) / total, 100 * (len(known) - stale) / total
    return {
        "complete_profiles": complete,
        "partial_profiles": partial,
        "empty_profiles": empty,
        "stale_profiles": stale,
        "completeness_score": pytest.approx(completeness, abs=0.006),
        "freshness_score": pytest.approx(freshness, abs=0.006),
        "quality_score": pytest.approx(0.7 * completeness + 0.3 * freshness, abs=0.02),
    }


@pytest.mark.long
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    people=st.lists(profiles, max_size=8, unique_by=lambda fields: fields["user_id"]),
    staff=st.lists(employees, max_size=12),
    is_large=st.booleans(),
)
def test_both_reports_equal_a_recount(
    people: list[dict[str, Any]], staff: list[dict[str, Any]], is_large: bool
) -> None:
    with transaction.atomic():
        insert_people(people, staff)
        if is_large:
            cached.take()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(cached, "SMALL_BYTES", -1 if is_large else cached.SMALL_BYTES)
            covered, judged = reports.coverage(), reports.quality()
        expected = recounted_coverage()
        assert {name: covered[name] for name in expected} == expected
        assert judged["quality_metrics"] == recounted_quality(timezone.now())
        assert_queries_list_what_they_count(judged["data_issues"])
        transaction.set_rollback(True)


def assert_queries_list_what_they_count(issues: list[dict[str, Any]]) -> None:
    with connection.cursor() as cursor:
        for issue in issues:
            if issue["type"] == "names_to_backfill":
                assert issue["count"] == batches.preview_names(limit=0).total
                continue
            cursor.execute(issue["query"])
            assert len(cursor.fetchall()) == issue["count"]


@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Treat the tables as too large to be counted for an answer."""
    monkeypatch.setattr(cached, "SMALL_BYTES", -1)
    # However slow the machine is, what has just been counted is fresh.
    monkeypatch.setattr(cached, "FRESH", timedelta(minutes=10))


@pytest.mark.long
@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(profiles, max_size=8, unique_by=lambda fields: fields["user_id"]), st.lists(employees, max_size=8))
def test_a_report_for_one_university_counts_no_other_employees(
    people: list[dict[str, Any]], staff: list[dict[str, Any]]
) -> None:
    with transaction.atomic():
        # One of each university who can be named, and one who cannot; the last is one's own.
        nameable = [{"max_id": "9", "profile_source": "default", "university": number} for number in (1, 0)]
        nameless = [{"max_id": None, "profile_source": "default", "university": number} for number in (1, 0)]
        insert_people([*people, _FRESH | {"user_id": "9"}], [*staff, *nameable, *nameless])
        own = {Employee.objects.latest("pk").university_id}
        limited = [report(own) for report in (reports.coverage, reports.profile_stats, reports.quality)]
        of_own = Employee.objects.filter(university__in=own)
        issues = {issue["type"]: issue for issue in limited[2]["data_issues"]}
        assert limited[0]["total_users"] == of_own.count()
        issue = issues.pop("unnamed_employees", {})
        unnamed, query = issue.get("count"), issue.get("query")
        assert unnamed == (of_own.filter(profile_source="default").count() or None)
        if query:
            with connection.cursor() as cursor:
                cursor.execute(query)
                assert len(cursor.fetchall()) == unnamed
        university = University.objects.get(pk__in=own)
        number = batches.preview_names(university, limit=0).total
        assert 0 < number < batches.preview_names(limit=0).total
        assert issues["names_to_backfill"]["count"] == number
        Employee.objects.exclude(university__in=own).delete()
        Profile.objects.exclude(user_id__in=Employee.objects.exclude(max_id=None).values("max_id")).delete()
        whole = [report() for report in (reports.coverage, reports.profile_stats, reports.quality)]
        for of_all, of_these in zip(whole, limited, strict=True):
            for name in (*recounted_coverage(), "employees_by_source", "university_breakdown"):
                assert of_all.get(name) == of_these.get(name)
        assert about_employees(whole[2]) == about_employees(limited[2])
        transaction.set_rollback(True)


def about_employees(report: dict[str, Any]) -> list[Any]:
    """Return the numbers of a report's issues that are about employees, and the actions for them."""
    kinds = ("unnamed_employees", "names_to_backfill")
    numbers = [(issue["type"], issue["count"]) for issue in report["data_issues"] if issue["type"] in kinds]
    actions = [text for text in report["recommended_actions"] if text.startswith("Employees ")]
    assert (len(numbers), len(actions)) == (2, 2)
    return numbers + actions


def test_the_own_university_is_among_the_many() -> None:
    for number in range(reports.MOST_UNIVERSITIES + 2):
        university, phones = University.objects.create(name=f"Вуз {number}"), [f"+79000000{number:03}"]
        phones += [f"+79000001{number:03}"] * (number < reports.MOST_UNIVERSITIES + 1)
        Employee.objects.bulk_create(Employee(phone=phone, university=university) for phone in phones)
    own = University.objects.latest("pk").pk
    assert own not in {row["university_id"] for row in reports.quality()["university_breakdown"]}
    assert [row["university_id"] for row in reports.quality({own})["university_breakdown"]] == [own]


@pytest.mark.usefixtures("large")
def test_the_task_counts_large_tables_and_reports_show_the_age() -> None:
    insert_people([], [{"max_id": None, "profile_source": "api", "university": 0}])
    assert set(cached.take()) == set(cached.STATISTICS)
    Employee.objects.all().delete()
    CachedStatistic.objects.update(at=timezone.now() - timedelta(seconds=300))
    covered = reports.coverage()
    assert covered["employees_by_source"] == {"api": 1}
    assert covered["age_seconds"] == pytest.approx(300, abs=60)
    assert cached.take() == []


@pytest.mark.usefixtures("large")
def test_a_slow_count_rests_longer() -> None:
    cached.take()
    half_an_hour_ago = timezone.now() - timedelta(minutes=30)
    CachedStatistic.objects.filter(name="users").update(at=half_an_hour_ago, took_ms=120_000)
    CachedStatistic.objects.filter(name="profiles").update(at=half_an_hour_ago, took_ms=60_000)
    assert cached.take() == ["profiles"]


@pytest.mark.usefixtures("large")
def test_the_task_counts_for_pages_too() -> None:
    cached.take()
    hour_ago = timezone.now() - timedelta(hours=1)
    CachedStatistic.objects.filter(name="sources").update(at=hour_ago, took_ms=40_000, value=[])
    CachedStatistic.objects.filter(name="ages").update(at=hour_ago, took_ms=30_000)
    # Pages never wait for a slow count.
    assert (cached.statistic("sources").value, cached.statistic("ages").at) == ([], hour_ago)
    assert cached.take() == ["ages"]


@pytest.mark.usefixtures("large")
def test_the_first_report_counts_without_the_task() -> None:
    insert_people([], [{"max_id": None, "profile_source": "api", "university": 0}])
    assert reports.coverage()["total_users"] == 1
    assert CachedStatistic.objects.filter(name="users").exists()


def test_recommendations_follow_from_the_counts() -> None:
    insert_people(
        [
            {"user_id": "1", "first_name": "Иван", "last_name": None, "user_provided_name": None, "age": 31 * DAY},
            {"user_id": "2", "first_name": "Иван", "last_name": None, "user_provided_name": None, "age": DAY},
        ],
        [{"max_id": max_id, "profile_source": "default", "university": 0} for max_id in ("1", "2", "9")],
    )
    judged = reports.quality()
    assert [issue["type"] for issue in judged["data_issues"]] == [
        "partial_profiles", "stale_profiles", "guessed_first_names", "unnamed_employees", "names_to_backfill",
    ]  # fmt: skip
    for text, action in zip(ACTIONS, judged["recommended_actions"], strict=True):
        assert text in action
    (university,) = judged["university_breakdown"]
    assert (university["employees"], university["with_profile"], university["unnamed"]) == (3, 2, 3)


@pytest.mark.parametrize("is_large", [False, True])
def test_it_recommends_as_many_names_as_the_dry_run(
    phases: Phases, monkeypatch: pytest.MonkeyPatch, is_large: bool
) -> None:
    """Five employees without a name: stale, fresh, by a link, set by hand, at a denied university."""
    nameless = {"profile_source": "default", "university": 0}
    insert_people(
        [{"user_id": "1", **_FRESH, "age": 31 * DAY}, *({"user_id": user_id, **_FRESH} for user_id in "2345")],
        [
            *({"max_id": max_id, **nameless} for max_id in ("1", "2", None)),
            {"max_id": "4", **nameless, "profile_source": "manual"},
            {"max_id": "5", **nameless, "university": 1},
        ],
    )
    phones = Employee.objects.order_by("pk").values_list("phone", flat=True)
    PhoneLink.objects.create(phone=phones[2], user_id="3", observed_at=timezone.now())
    UniversityRule.objects.create(university_id=University.objects.latest("pk").pk, phase=3, reason="r")
    forget_state()
    if is_large:
        cached.take()
        monkeypatch.setattr(cached, "SMALL_BYTES", -1)
    out = StringIO()
    call_command("backfill", "start", "--dry-run", stdout=out)
    assert "Rows that would change: 3," in out.getvalue()
    judged = reports.quality()
    assert {issue["type"]: issue["count"] for issue in judged["data_issues"]}["names_to_backfill"] == 3
    actions = judged["recommended_actions"]
    preview = "Preview the backfill (manage.py backfill start --dry-run)."
    assert f"Employees who can get a name from the cache: 3. {preview}" in actions
    assert any(text.startswith("Employees whose name a backfill cannot find: 2.") for text in actions)
    call_command("backfill", "start", "--reason", "tested", stdout=out)
    if is_large:
        CachedStatistic.objects.update(at=timezone.now() - timedelta(hours=1))
        cached.take()
    assert not any("backfill start" in text for text in reports.quality()["recommended_actions"])
