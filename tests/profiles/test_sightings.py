"""The merge rule: a later update never loses to an older one, in any order."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from profiles.merge import Claim, Sighting, fold
from profiles.models import Profile

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
moments = st.integers(0, 5).map(lambda hours: EPOCH + timedelta(hours=hours))
first_names = st.builds(Claim, st.booleans(), moments, st.sampled_from(["а", "б", "ё", "z"]))
other_names = st.builds(Claim, st.just(True), moments, st.sampled_from(["", "а", "б", "ё", "z"]))
sightings = st.builds(
    Sighting,
    user_id=st.sampled_from(["1", "2"]),
    received_at=moments,
    first_name=st.none() | first_names,
    last_name=st.none() | other_names,
    user_provided_name=st.none() | other_names,
)
some_sightings = st.lists(sightings, max_size=8)


def claims(people: list[Sighting]) -> list[tuple[object, ...]]:
    return [(person.user_id, *person.claims) for person in people]


@given(some_sightings, st.randoms())
def test_order_and_repeats_change_nothing(said: list[Sighting], random: object) -> None:
    shuffled = said + said
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert claims(fold(shuffled)) == claims(fold(said))


@given(some_sightings)
def test_each_field_is_the_greatest_claim_made(said: list[Sighting]) -> None:
    for person in fold(said):
        mine = [sighting for sighting in said if sighting.user_id == person.user_id]
        for index, claim in enumerate(person.claims):
            made = [made for sighting in mine if (made := sighting.claims[index])]
            assert claim == (max(made) if made else None)


def test_a_later_update_wins_and_an_older_one_does_not() -> None:
    older, later = (Claim(True, EPOCH + timedelta(hours=hour), name) for hour, name in ((1, "я"), (2, "а")))
    for order in ([older, later], [later, older]):
        (person,) = fold(Sighting("1", EPOCH, first_name=claim) for claim in order)
        assert person.first_name == later


def test_a_derived_first_name_never_beats_a_real_one() -> None:
    real = Sighting("1", EPOCH, first_name=Claim(True, EPOCH, "Анна"))
    derived = Sighting("1", EPOCH, first_name=Claim(False, EPOCH + timedelta(days=1), "Анна Иванова"))
    assert real.absorb(derived).first_name == derived.absorb(real).first_name == real.first_name


def stored() -> list[tuple[object, ...]]:
    return [
        (
            p.user_id,
            p.first_name_set_at and Claim(p.is_first_name_real, p.first_name_set_at, p.first_name or ""),
            p.last_name_set_at and Claim(True, p.last_name_set_at, p.last_name or ""),
            p.user_provided_name_set_at and Claim(True, p.user_provided_name_set_at, p.user_provided_name or ""),
        )
        for p in Profile.objects.order_by("user_id")
    ]


@pytest.mark.django_db
@settings(deadline=None)  # PostgreSQL takes its time when others use the machine
@given(st.lists(some_sightings, max_size=4))
def test_the_statement_follows_the_same_rule(batches: list[list[Sighting]]) -> None:
    Profile.objects.all().delete()
    for batch in batches:
        Profile.objects.absorb(batch)
    assert stored() == claims(fold(sighting for batch in batches for sighting in batch))


@pytest.mark.django_db
def test_it_returns_only_what_changed() -> None:
    said = Sighting("1", EPOCH, first_name=Claim(True, EPOCH, "Анна"))
    assert [profile.user_id for profile in Profile.objects.absorb([said])] == ["1"]
    assert Profile.objects.absorb([said]) == []
    older = Sighting("1", EPOCH + timedelta(days=9), first_name=Claim(True, EPOCH - timedelta(days=1), "Яна"))
    assert Profile.objects.absorb([older]) == []
    assert Profile.objects.get().last_updated == EPOCH
