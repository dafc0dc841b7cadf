import unicodedata

import pytest
import regex
from hypothesis import given
from hypothesis import strategies as st

from profiles import names

_PROPERTIES = regex.compile(r"[\p{Default_Ignorable_Code_Point}\p{Cc}\p{Bidi_Control}\p{White_Space}]")
INVISIBLE = [*_PROPERTIES.findall("".join(map(chr, range(0x110000)))), "\u2800"]
# Letters without ink, and marks without a letter.
BLANK = [*INVISIBLE, *"\U00013441\U00013442\u0301\u20e3"]


@pytest.mark.parametrize(
    ("given_name", "stored"),
    [
        ("Анна", "Анна"),
        ("  Анна \t\n Мария ", "Анна Мария"),
        ("Йод".replace("Й", "И\u0306"), "Йод"),
        ("A\x00n\x1fn\x7fa", "Anna"),
        ("\u202eанна\u200b\ufeff", "анна"),
        ("\ud800Анна", "\ufffdАнна"),
        ("👩\u200d💻 Анна", "👩\u200d💻 Анна"),
        ("Ан\u200dна", "Анна"),
        ("", ""),
        (" \u200b\x00 ", ""),
        ("я" * 101, "я" * 100),
        ("-", ""),
        ("...", ""),
        ("\ufe0f", ""),
        ("\u115f\u1160\u3164\uffa0\u2800", ""),
        ("\u0301\u0300", ""),
        ("." * 100 + "Анна", ""),
        ("Анна\uffa0Мария", "Анна Мария"),
        ("Ан\ufe0fна", "Анна"),
        ("❤\ufe0f", "❤\ufe0f"),
        ("🇷🇺", "🇷🇺"),
        ("7", "7"),
        ("я" * 99 + "👩\u200d💻", "я" * 99),
        ("я" * 98 + " ядро", "я" * 98 + " я"),
    ],
)
def test_it_cleans(given_name: str, stored: str) -> None:
    assert names.clean(given_name) == stored


@given(st.text(max_size=300))
def test_cleaning_twice_is_cleaning_once(text: str) -> None:
    once = names.clean(text)
    assert names.clean(once) == once
    assert len(once) <= 100
    assert once == once.strip()
    assert "\0" not in once
    assert unicodedata.is_normalized("NFC", once)
    once.encode()


@given(st.text(st.sampled_from(BLANK)))
def test_a_name_of_invisible_characters_is_absent(text: str) -> None:
    assert names.clean(text) == ""
    with pytest.raises(ValueError, match="1 to 100 letters"):
        names.user_provided(text)


@given(st.text(st.sampled_from(INVISIBLE)), st.sampled_from("ЯqéشअΩ"), st.text(st.sampled_from(INVISIBLE)))
def test_invisible_characters_around_a_letter_are_removed(before: str, letter: str, after: str) -> None:
    assert names.clean(f"{before}{letter}{after}") == letter


@pytest.mark.parametrize("name", ["Анна", "Жан-Поль О'Нил", "И. И. Иванов", "李小龍", "Zoë", "Ёлка", "मोहन", "я" * 100])
def test_a_person_may_be_named(name: str) -> None:
    assert names.user_provided(name) == name


@pytest.mark.parametrize("name", ["", " ", "-", "Анна1", "<b>", "a@b", "я" * 101, "Анна!", "👩"])
def test_it_refuses_what_is_no_name(name: str) -> None:
    with pytest.raises(ValueError, match="1 to 100 letters"):
        names.user_provided(name)


@pytest.mark.parametrize(
    ("full_name", "parts"),
    [
        ("Иван", ("Иван", "", "")),
        ("Иван Петров", ("Иван", "Петров", "")),
        ("Иван Петров Сергеевич младший", ("Иван", "Петров", "Сергеевич младший")),
    ],
)
def test_it_splits(full_name: str, parts: tuple[str, str, str]) -> None:
    assert names.split(full_name) == parts


def test_it_shows_the_own_name_first() -> None:
    assert names.display("Ваня", "Иван", "Петров") == "Ваня"
    assert names.display("", "Иван", "Петров") == "Иван Петров"
    assert names.display("", "Иван", "") == "Иван"
    assert names.display("", "", "Петров") == "Петров"
