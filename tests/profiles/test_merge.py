"""The merge rule: a later update never loses to an older one, in any order."""

import os
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from profiles.merge import ProfileUpdate, TimestampedValue, merge_all
from profiles.models import Profile

EXAMPLES = 100 if os.environ.get("NAMES") == "full" else 25
EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
moments = st.integers(0, 5).map(lambda hours: EPOCH + timedelta(hours=hours))
first_names = st.builds(TimestampedValue, st.booleans(), moments, st.sampled_from(["а", "б", "ё", "z"]))
other_names = st.builds(TimestampedValue, st.just(True), moments, st.sampled_from(["", "а", "б", "ё", "z"]))
updates = st.builds(
    ProfileUpdate,
    user_id=st.sampled_from(["1", "2"]),
    received_at=moments,
    first_name=st.none() | first_names,
    last_name=st.none() | other_names,
    user_provided_name=st.none() | other_names,
)
update_lists = st.lists(updates, max_size=8)


def fields_of(people: list[ProfileUpdate]) -> list[tuple[object, ...]]:
    return [(person.user_id, *person.values) for person in people]


@given(update_lists, st.randoms())
def test_order_and_repeats_change_nothing(drawn: list[ProfileUpdate], random: object) -> None:
    shuffled = drawn + drawn
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert fields_of(merge_all(shuffled)) == fields_of(merge_all(drawn))


@given(update_lists)
def test_each_field_has_the_greatest_value(drawn: list[ProfileUpdate]) -> None:
    for person in merge_all(drawn):
        mine = [update for update in drawn if update.user_id == person.user_id]
        for index, value in enumerate(person.values):
            sent = [sent for update in mine if (sent := update.values[index])]
            assert value == (max(sent) if sent else None)


def test_a_later_update_wins_and_an_older_one_does_not() -> None:
    older, later = (TimestampedValue(True, EPOCH + timedelta(hours=hour), name) for hour, name in ((1, "я"), (2, "а")))
    for order in ([older, later], [later, older]):
        (person,) = merge_all(ProfileUpdate("1", EPOCH, first_name=value) for value in order)
        assert person.first_name == later


def test_a_derived_first_name_never_beats_a_real_one() -> None:
    real = ProfileUpdate("1", EPOCH, first_name=TimestampedValue(True, EPOCH, "Анна"))
    derived = ProfileUpdate("1", EPOCH, first_name=TimestampedValue(False, EPOCH + timedelta(days=1), "Анна Иванова"))
    assert real.merge(derived).first_name == derived.merge(real).first_name == real.first_name


def stored() -> list[tuple[object, ...]]:
    return [
        (
            p.user_id,
            p.first_name_set_at and TimestampedValue(p.is_first_name_real, p.first_name_set_at, p.first_name or ""),
            p.last_name_set_at and TimestampedValue(True, p.last_name_set_at, p.last_name or ""),
            p.user_provided_name_set_at
            and TimestampedValue(True, p.user_provided_name_set_at, p.user_provided_name or ""),
        )
        for p in Profile.objects.order_by("user_id")
    ]


@pytest.mark.django_db
@settings(deadline=None, max_examples=EXAMPLES)  # PostgreSQL takes its time when others use the machine
@given(st.lists(update_lists, max_size=4))
def test_the_statement_follows_the_same_rule(batches: list[list[ProfileUpdate]]) -> None:
    Profile.objects.all().delete()
    for batch in batches:
        Profile.objects.merge(batch)
    assert stored() == fields_of(merge_all(update for batch in batches for update in batch))


@pytest.mark.django_db
def test_it_returns_only_what_changed() -> None:
    update = ProfileUpdate("1", EPOCH, first_name=TimestampedValue(True, EPOCH, "Анна"))
    assert [profile.user_id for profile in Profile.objects.merge([update])] == ["1"]
    assert Profile.objects.merge([update]) == []
    older = ProfileUpdate(
        "1", EPOCH + timedelta(days=9), first_name=TimestampedValue(True, EPOCH - timedelta(days=1), "Яна")
    )
    assert Profile.objects.merge([older]) == []
    assert Profile.objects.get().last_updated == EPOCH
