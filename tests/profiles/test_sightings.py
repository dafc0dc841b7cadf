"""The merge rule: a later update never loses to an older one, in any order."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from profiles.merge import ProfileUpdate, TimestampedValue, merge_all
from profiles.models import Profile

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
some_sightings = st.lists(updates, max_size=8)


def claims(people: list[ProfileUpdate]) -> list[tuple[object, ...]]:
    return [(person.user_id, *person.values) for person in people]


@given(some_sightings, st.randoms())
def test_order_and_repeats_change_nothing(said: list[ProfileUpdate], random: object) -> None:
    shuffled = said + said
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert claims(merge_all(shuffled)) == claims(merge_all(said))


@given(some_sightings)
def test_each_field_is_the_greatest_claim_made(said: list[ProfileUpdate]) -> None:
    for person in merge_all(said):
        mine = [update for update in said if update.user_id == person.user_id]
        for index, claim in enumerate(person.values):
            made = [made for update in mine if (made := update.values[index])]
            assert claim == (max(made) if made else None)


def test_a_later_update_wins_and_an_older_one_does_not() -> None:
    older, later = (TimestampedValue(True, EPOCH + timedelta(hours=hour), name) for hour, name in ((1, "я"), (2, "а")))
    for order in ([older, later], [later, older]):
        (person,) = merge_all(ProfileUpdate("1", EPOCH, first_name=claim) for claim in order)
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
@settings(deadline=None)  # PostgreSQL takes its time when others use the machine
@given(st.lists(some_sightings, max_size=4))
def test_the_statement_follows_the_same_rule(batches: list[list[ProfileUpdate]]) -> None:
    Profile.objects.all().delete()
    for batch in batches:
        Profile.objects.merge(batch)
    assert stored() == claims(merge_all(update for batch in batches for update in batch))


@pytest.mark.django_db
def test_it_returns_only_what_changed() -> None:
    said = ProfileUpdate("1", EPOCH, first_name=TimestampedValue(True, EPOCH, "Анна"))
    assert [profile.user_id for profile in Profile.objects.merge([said])] == ["1"]
    assert Profile.objects.merge([said]) == []
    older = ProfileUpdate(
        "1", EPOCH + timedelta(days=9), first_name=TimestampedValue(True, EPOCH - timedelta(days=1), "Яна")
    )
    assert Profile.objects.merge([older]) == []
    assert Profile.objects.get().last_updated == EPOCH
