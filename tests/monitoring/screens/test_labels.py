"""Codes are shown as labels in the reader's language."""

from datetime import UTC, datetime, timedelta

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone, translation
from waffle.models import Switch

from config.lib.messages import Message
from monitoring.dashboard import charts
from monitoring.indicators.units import with_unit
from monitoring.rollout_control.gates import GateResult
from monitoring.rollout_control.models import Signature, Verdict
from monitoring.rollout_control.presenters import Condition
from monitoring.templatetags.screens import ago, day
from profiles.models import Pattern
from tests.config.test_russian_pages import Visible
from tests.conftest import Phases
from tests.monitoring.comparison_rows import compared
from tests.profiles.people import add_profile

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("redis")]


def read(client: Client, path: str) -> dict[str, str]:
    return {
        language: client.get(path, headers={"Accept-Language": language}).content.decode() for language in ("en", "ru")
    }


@pytest.mark.parametrize("path", ["/admin/comparisons/", "/admin/profiles/comparison/"])
def test_how_names_differ(operator: Client, path: str) -> None:
    for pattern in Pattern:
        compared(1, "conflict", pattern=pattern)
    compared(1, "cache_stale", pattern="cache_richer")
    pages = read(operator, path)
    for words in ("different alphabet", "different last name", "both names differ", "the cache has a fuller name"):
        assert words in pages["en"]
    for words in ("другой алфавит", "другая фамилия", "другие имя и фамилия", "в кэше имя полнее"):
        assert words in pages["ru"]
    assert not any(f">{pattern}" in page for pattern in Pattern for page in pages.values())


@pytest.mark.parametrize("path", ["/admin/audit/", "/admin/monitoring/signature/"])
def test_the_title_of_a_signed_item(operator: Client, superadmin: User, path: str) -> None:
    until = timezone.now() + timedelta(days=1)
    Signature.objects.create(item="backup_database", by=superadmin, note="n", expires_at=until)
    Signature.objects.create(item="of_an_older_release", by=superadmin, note="n", expires_at=until)
    pages = read(operator, path)
    assert "Backup database" in pages["en"]
    assert "Сделать копию базы данных" in pages["ru"]
    assert all("backup_database" not in page and "of_an_older_release" in page for page in pages.values())


def test_the_item_of_one_signature(operator: Client, superadmin: User) -> None:
    until = timezone.now() + timedelta(days=1)
    signed = Signature.objects.create(item="backup_database", by=superadmin, note="restored it", expires_at=until)
    pages = read(operator, f"/admin/monitoring/signature/{signed.pk}/change/")
    assert "Backup database" in pages["en"]
    assert "Сделать копию базы данных" in pages["ru"]
    assert all("backup_database" not in page and "restored it" in page for page in pages.values())


def test_whether_a_part_is_on(operator: Client) -> None:
    Switch.objects.filter(name="profile_cache").update(active=False)
    pages = read(operator, "/admin/live/rollout/")
    assert (pages["en"].count("<b>off</b>"), pages["en"].count("<b>on</b>")) == (1, 4)
    assert (pages["ru"].count("<b>выкл.</b>"), pages["ru"].count("<b>вкл.</b>")) == (1, 4)


def texts(client: Client, path: str, language: str) -> list[str]:
    reader = Visible()
    reader.feed(client.get(path, headers={"Accept-Language": language}).content.decode())
    return [text.strip() for text in reader.texts]


@pytest.mark.parametrize(("language", "word"), [("en", "named by the person"), ("ru", "указал сам")])
def test_where_a_profile_is_from(operator: Client, language: str, word: str) -> None:
    path = "/admin/profiles/profile/"
    # The filter names it too.
    before = texts(operator, path, language).count(word)
    add_profile("8", own_name="Мария")
    assert texts(operator, path, language).count(word) == before + 1
    assert word in texts(operator, f"{path}8/change/", language)


@pytest.mark.parametrize(("language", "month"), [("en", "Oct"), ("ru", "окт")])
def test_months_are_written_as_their_language_does(language: str, month: str) -> None:
    with translation.override(language):
        assert charts.day_label("2026-10-28") == f"28 {month}"
        assert day(datetime(2026, 10, 28, 12, tzinfo=UTC)) == f"28 {month}"


def test_a_gates_number_has_no_idle_zero() -> None:
    with translation.override("ru"):
        numbers = [
            Condition.of(GateResult("dwell", Verdict.PASS, Message("dwell time over"), hours * 3600, unit="h")).number
            for hours in (71.98, 12.34, 0.5, 3)
        ]
    assert numbers == ["3\u00a0дн.", "12,3\u00a0ч", "30\u00a0мин", "3\u00a0ч"]


@pytest.mark.parametrize(
    ("seconds", "shown"), [(20, "20\u00a0s"), (900, "15\u00a0min"), (86_400, "24\u00a0h"), (348_690, "4.04\u00a0d")]
)
def test_a_duration_is_shown_in_the_unit_that_fits_it(seconds: float, shown: str) -> None:
    with translation.override("en"):
        assert with_unit(seconds, "h") == with_unit(seconds, "min") == shown


def test_a_recent_moment_is_just_now() -> None:
    now = timezone.now()
    with translation.override("en"):
        assert [ago(now), ago(now - timedelta(seconds=7))] == ["just now", "7\u00a0s ago"]
        assert ago(now + timedelta(seconds=2)) == "just now", "by another machine's clock"


@pytest.mark.long
@pytest.mark.parametrize(("language", "mark", "other"), [("ru", ",", "."), ("en", ".", ",")])
def test_a_percentage_has_the_readers_decimal_mark(
    operator: Client, phases: Phases, language: str, mark: str, other: str
) -> None:
    phases(100, 100, 12.5)
    pages = {
        "/admin/live/home/": ["12.5"],
        "/admin/live/rollout/": ["12.5"],
        "/admin/steer/3/?percent=12.75": ["12.5", "12.75"],
        "/admin/checklist/items/": ["12.5"],
    }
    for path, percents in pages.items():
        shown = " ".join(texts(operator, path, language))
        for percent in percents:
            assert percent.replace(".", mark) in shown, path
            assert percent.replace(".", other) not in shown, path
    due_at = f"{timezone.localtime() + timedelta(days=1):%Y-%m-%dT%H:%M}"
    operator.cookies["django_language"] = language
    form = {"phase": "4", "percent": "0.5", "due_at": due_at, "reason": "r"}
    page = operator.post("/admin/steer/plan/", form, follow=True).content.decode()
    sign = "%" if language == "en" else "\u00a0%"
    assert f"0{mark}5{sign}" in page
    assert f"0{other}5{sign}" not in page


def test_what_a_browser_reads_keeps_the_point(operator: Client, phases: Phases) -> None:
    phases(100, 100, 12.5)
    page = operator.get("/admin/live/home/", headers={"Accept-Language": "ru"}).content.decode()
    assert "width: 12.500%" in page
    form = operator.get("/admin/steer/3/?percent=12.75", headers={"Accept-Language": "ru"}).content.decode()
    assert form.count('name="percent" value="12.75"') == 2
    rollout = operator.get("/admin/live/rollout/", headers={"Accept-Language": "ru"}).content.decode()
    assert "?percent=25" in rollout
