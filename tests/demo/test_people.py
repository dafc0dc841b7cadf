"""The demo's people: each is the same whoever asks, and is found by their phone."""

from hypothesis import given
from hypothesis import strategies as st

from config.dev.demo.people import MOST_PEOPLE, UNIVERSITIES, person, person_of
from profiles import phones

numbers = st.integers(0, MOST_PEOPLE - 1)


def test_it_works() -> None:
    who = person(0)
    assert (who.first_name, who.last_name, who.middle_name) == ("Фёдор", "Шевченко", "Сергеевич")
    assert who.direct_name == ("Федор", "Шевченко")


@given(numbers)
def test_a_person_is_found_by_the_phone(number: int) -> None:
    who = person(number)
    assert phones.normalize(who.phone) == who.phone
    assert person_of(who.phone) == person_of(who.phone.lstrip("+")) == who


def test_no_two_people_share_a_phone_or_an_id() -> None:
    people = [person(number) for number in range(5000)]
    assert len({who.phone for who in people}) == len({who.user_id for who in people}) == 5000


def test_a_phone_of_nobody_finds_nobody() -> None:
    known = {person(number).phone for number in range(1000)}
    strangers = [f"+7945{number:07d}" for number in range(0, 9_999_999, 9_973)]
    for phone in {*strangers, "+79160000001", "+7945", "+7945x", ""} - known:
        found = person_of(phone)
        assert found is None or (found.number >= 1000 and found.phone == phone)


@given(numbers)
def test_a_name_agrees_with_itself(number: int) -> None:
    """A woman's surname and patronymic have feminine endings, a man's masculine ones."""
    who = person(number)
    is_woman = who.middle_name.endswith("на")
    assert who.middle_name.endswith("на" if is_woman else "ич")
    assert not who.last_name.endswith(("а", "ая") if not is_woman else ("ов", "ев", "ин", "ий", "ой"))
    first, last = who.other_name()
    assert last not in ("", who.last_name)
    assert first == who.first_name
    assert not last.endswith(("а", "ая") if not is_woman else ("ов", "ев", "ин", "ий", "ой"))


def test_every_university_has_people() -> None:
    assert {person(number).university for number in range(200)} == set(range(len(UNIVERSITIES)))
