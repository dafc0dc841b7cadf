"""Commands and reports print words and numbers of the reader's language: no keys, “1 days” or foreign separators."""

import io
import re
from datetime import timedelta

import pytest
from django.core.management import call_command
from django.utils import translation

from config.lib.messages import shown_number, shown_percent
from employees.models import Employee, University
from monitoring.stats.comparison_stats import ComparisonStats, ttl_advice
from profiles.models import ComparisonOutcome
from profiles.models.comparison import Pattern
from profiles.rollout import presenters
from tests.conftest import Phases
from tests.monitoring.comparison_rows import compared
from tests.profiles.people import add_profile

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("redis")]
# Names of columns, policies and settings of PostgreSQL and Redis are not sentences.
NAMES = {"profile_cache", "webhook_inbox", "webhook_repeats", "profile_source", "monitoring_gatecheck"}
COMMANDS = [
    ("rollout", "status"), ("rollout", "gates"), ("rollout", "replay", "--percent", "50"), ("rollout", "checklist"),
    ("rollout", "replay", "--percent", "50", "--days", "1"), ("assess",), ("backfill", "start", "--dry-run"),
    ("backfill", "status"), ("alerts", "list"), ("rollout", "explain", "--phone", "+79161234567"),
]  # fmt: skip
REPORTS = [
    ("report", f"--{period}", "--language", language)
    for period in ("daily", "weekly", "monthly")
    for language in ("en", "ru")
]


@pytest.fixture
def lived(phases: Phases) -> None:
    """Make employees with long names, each outcome at two ages and, of conflicts, each kind."""
    phases(100, 100, 25)
    for outcome in ComparisonOutcome:
        patterns = Pattern.values if outcome == ComparisonOutcome.CONFLICT else [""]
        for pattern in patterns:
            compared(1100, outcome, pattern=pattern)
            compared(3, outcome, pattern=pattern, cache_age_days=5)
    name = "Северо-Западный федеральный университет телекоммуникаций и информатики"
    university = University.objects.create(name=name, inn="7736050003")
    for number in range(30):
        user_id = str(500 + number)
        Employee.objects.create(phone=f"+7916000{number:04}", max_id=user_id, university=university)
        add_profile(user_id, "Константин", "Константинопольский")


def printed(*words: str) -> str:
    out = io.StringIO()
    call_command(*words, stdout=out)
    return out.getvalue()


def problems(text: str, language: str) -> list[str]:
    found = [name for name in re.findall(r"\b[a-z0-9]+(?:_[a-z0-9]+)+\b", text) if name not in NAMES]
    found += re.findall(r"(?<!\d)1 days\b", text)
    if language == "en":
        found += re.findall(r"\d[\u202f\xa0 ]\d{3}\b|\d[\xa0 ]%", text)
    else:
        found += re.findall(r"\d\.\d+(?= ?[%мк])|\b\d+ (?:days?|hours?|minutes?)\b", text)
    return found


@pytest.mark.long
@pytest.mark.parametrize("words", [*COMMANDS, *REPORTS], ids=" ".join)
def test_nothing_prints_keys_or_foreign_numbers(lived: None, words: tuple[str, ...]) -> None:
    language = words[-1] if "--language" in words else "en"
    with translation.override("en"):
        text = printed(*words)
    assert problems(text, language) == []
    # The preview of a backfill names universities, and is not wrapped: a pipe has no width.
    if words[1:2] not in (("status",), ("checklist",), ("start",)):
        assert [line for line in text.splitlines() if len(line) > 80] == []


@pytest.mark.parametrize(("language", "number", "share"), [("en", "3,348", "98.7%"), ("ru", "3\u202f348", "98,7 %")])
def test_numbers_are_those_of_the_language(language: str, number: str, share: str) -> None:
    with translation.override(language):
        assert (shown_number(3348), shown_percent(0.987)) == (number, share)


@pytest.mark.parametrize(("language", "shown"), [("en", "1 day 2 hours 1 minute"), ("ru", "1 день 2 часа 1 минута")])
def test_a_configured_duration_is_in_words(language: str, shown: str) -> None:
    with translation.override(language):
        assert presenters.length(timedelta(days=1, hours=2, minutes=1)) == shown


def test_one_day_is_no_days() -> None:
    with translation.override("en"):
        advice = str(ttl_advice({1: ComparisonStats({ComparisonOutcome.AGREE: 10_000})}))
        assert advice.endswith("at most one day old agree")
