"""The rule for an employee's name: what each answer leads to, and what holds whatever the profile and the settings."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from profiles.models import ProfileSource
from profiles.name_rule import (
    Answer,
    Known,
    KnownProfile,
    NameChoice,
    NameReason,
    NoAnswer,
    Policy,
    UserFound,
    choose_name,
)

NOW = datetime(2026, 11, 26, 12, tzinfo=UTC)
TTL = timedelta(days=30)
FULL = UserFound("Олег", "Сидоров", "9")

names = st.sampled_from(["", "Иван"])
profiles = st.builds(
    KnownProfile,
    first_name=names,
    last_name=st.sampled_from([None, "", "Петров"]),
    user_provided_name=st.sampled_from(["", "Ваня Чудов Ильич"]),
    last_updated=st.sampled_from([NOW, NOW - TTL + timedelta(seconds=1), NOW - TTL, NOW - 5 * TTL]),
)
knowns = st.builds(Known, max_id=st.sampled_from([None, "7"]), profile=st.none() | profiles, is_readable=st.booleans())
answers = st.sampled_from([*NoAnswer, FULL, UserFound("Олег", "", "9"), UserFound("", "", "9")])
policies = st.builds(Policy, stage=st.integers(0, 4), profile_ttl=st.just(TTL), has_token=st.booleans())


def profile(
    first: str = "Иван", last: str | None = "Петров", own: str = "", age: timedelta = timedelta()
) -> KnownProfile:
    return KnownProfile(first, last, own, NOW - age)


def chosen(
    known: KnownProfile | None, answer: Answer = NoAnswer.NOT_ASKED, *, stage: int = 3, has_token: bool = True
) -> NameChoice:
    return choose_name(Known("7", known), answer, Policy(stage, TTL, has_token), NOW)


def brief(choice: NameChoice) -> tuple[str, str, bool]:
    name = f"{choice.first_name} {choice.last_name}".strip() if choice.is_named else ""
    return name, choice.reason, choice.needs_direct_api


@pytest.mark.parametrize(
    ("stage", "known", "answer", "expected"),
    [
        (2, profile(), NoAnswer.NOT_ASKED, ("", "not_admitted", True)),
        (2, profile(), FULL, ("Олег Сидоров", "direct_api", False)),
        (2, None, NoAnswer.FAILED, ("", "outage", False)),
        (3, profile(), NoAnswer.NOT_ASKED, ("Иван Петров", "fresh", False)),
        (3, profile(last=""), NoAnswer.NOT_ASKED, ("Иван", "fresh", False)),
        (3, profile(last=None), NoAnswer.NOT_ASKED, ("Иван", "partial", True)),
        (3, profile(last=None), NoAnswer.ABSENT, ("Иван", "partial", False)),
        (3, profile(last=None), NoAnswer.FAILED, ("Иван", "partial", False)),
        (3, profile(last=None), UserFound("Олег", "", "9"), ("Иван", "partial", False)),
        (3, profile(last=None), FULL, ("Олег Сидоров", "direct_api", False)),
        (3, profile(age=TTL), NoAnswer.NOT_ASKED, ("", "stale", True)),
        (3, profile(age=TTL), NoAnswer.ABSENT, ("", "stale", False)),
        (3, profile(own="Ваня Чудов", age=9 * TTL), NoAnswer.NOT_ASKED, ("Ваня Чудов", "user_provided", False)),
        (3, profile(first="", last="Петров"), NoAnswer.NOT_ASKED, ("", "nameless", True)),
        (3, None, NoAnswer.NOT_ASKED, ("", "nobody_knows", True)),
        (4, profile(age=9 * TTL), NoAnswer.NOT_ASKED, ("Иван Петров", "stored", False)),
        (4, profile(last=None), NoAnswer.NOT_ASKED, ("Иван", "partial", False)),
        (4, profile(first="", last="Петров"), NoAnswer.NOT_ASKED, ("Петров", "partial", False)),
        (4, profile(first="", last=""), NoAnswer.NOT_ASKED, ("", "nameless", False)),
        (4, None, NoAnswer.NOT_ASKED, ("", "nobody_knows", True)),
    ],
)
def test_it_works(stage: int, known: KnownProfile | None, answer: Answer, expected: tuple[str, str, bool]) -> None:
    assert brief(chosen(known, answer, stage=stage)) == expected


def test_it_keeps_a_partial_name_where_nobody_can_be_asked() -> None:
    assert brief(chosen(profile(last=None), has_token=False)) == ("Иван", "partial", False)


def test_phase_4_does_not_ask_about_an_unreadable_profile() -> None:
    unread = Known("7", is_readable=False)
    for stage, asks in ((3, True), (4, False)):
        choice = choose_name(unread, NoAnswer.NOT_ASKED, Policy(stage, TTL, True), NOW)
        assert brief(choice) == ("", "unreadable", asks)


def test_it_splits_a_user_provided_name() -> None:
    choice = chosen(profile(own="Ваня Чудов Ильич Младший", age=TTL))
    assert (choice.first_name, choice.last_name, choice.middle_name) == ("Ваня", "Чудов", "Ильич Младший")
    assert (choice.source, choice.updated_at) == (ProfileSource.USER_INPUT, NOW - TTL)


@given(knowns, answers, policies)
def test_a_choice_is_named_or_says_why_not(known: Known, answer: Answer, policy: Policy) -> None:
    choice = choose_name(known, answer, policy, NOW)
    sources = dict.fromkeys(NameReason, ProfileSource.DEFAULT) | {
        NameReason.USER_PROVIDED: ProfileSource.USER_INPUT,
        NameReason.DIRECT_API: ProfileSource.API,
        **dict.fromkeys([NameReason.FRESH, NameReason.STORED, NameReason.PARTIAL], ProfileSource.WEBHOOK),
    }
    assert choice.source == sources[choice.reason]
    assert choice.is_named == ((choice.first_name, choice.last_name) != ("Неизвестно", "Неизвестно"))
    assert (choice.updated_at is None) == (not choice.is_named)
    assert not (choice.is_cached and policy.stage < 3)
    assert choice.max_id == (
        known.max_id or (answer.user_id if isinstance(answer, UserFound) and not choice.is_cached else None)
    )


@given(knowns, answers, policies)
def test_it_asks_once_and_only_with_a_token(known: Known, answer: Answer, policy: Policy) -> None:
    choice = choose_name(known, answer, policy, NOW)
    assert not (choice.needs_direct_api and (not policy.has_token or answer is not NoAnswer.NOT_ASKED))
    assert not (choice.is_unresolved and (choice.is_named or answer is not NoAnswer.FAILED))
    if policy.stage == 4 and (known.profile or not known.is_readable):
        assert not choice.needs_direct_api


@given(knowns, policies)
def test_a_full_name_of_the_direct_api_never_yields_to_half_a_one(known: Known, policy: Policy) -> None:
    choice = choose_name(known, FULL, policy, NOW)
    if policy.stage < 4 and choice.reason == NameReason.PARTIAL:
        raise AssertionError(choice)


@given(knowns, policies)
def test_asking_never_loses_a_name(known: Known, policy: Policy) -> None:
    before = choose_name(known, NoAnswer.NOT_ASKED, policy, NOW)
    for answer in (NoAnswer.FAILED, NoAnswer.ABSENT, UserFound("", "", "9")):
        after = choose_name(known, answer, policy, NOW)
        assert (after.first_name, after.last_name, after.source) == (before.first_name, before.last_name, before.source)
