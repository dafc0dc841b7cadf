"""The patterns of the OpenAPI schema accept what the server accepts, and nothing else."""

import os
import re
from pathlib import Path

import pytest
import regex
from hypothesis import example, given, settings
from hypothesis import strategies as st

from config.lib import text as texts
from profiles import names, phones, user_ids

examples = settings(
    max_examples=2_000 if os.environ.get("FUZZ") == "full" else 50,
    deadline=None,
    derandomize="FUZZ" not in os.environ,
)
ROOT = Path(__file__).parent.parent.parent
DIGITS = st.integers(0, 2**66).map(str)


def is_valid_phone(text: str) -> bool:
    try:
        return bool(phones.normalize(text))
    except ValueError:
        return False


def is_valid_id(text: str) -> bool:
    try:
        return bool(user_ids.user_id_of(text))
    except ValueError:
        return False


@examples
@given(st.from_regex(phones.PATTERN, fullmatch=True))
@example("8 (916) 123-45-67")
def test_every_described_phone_is_accepted(text: str) -> None:
    assert is_valid_phone(text)


@examples
@given(st.from_regex(r"[+78]{0,2}[0-9]{7,16}", fullmatch=True) | st.text("+7890", max_size=20))
@example("+71234567")
@example("+7123456789")
@example("+0123456789")
def test_every_other_phone_is_refused(text: str) -> None:
    assert bool(re.fullmatch(phones.PATTERN, text)) == is_valid_phone(text)


@examples
@given(st.from_regex(user_ids.PATTERN, fullmatch=True) | DIGITS | st.text("09aZ_.-", max_size=70))
@example(str(2**63 - 1))
@example(str(2**63))
@example("9223372036854775799")
@example("0")
@example("007")
@example("007a")
def test_ids(text: str) -> None:
    is_described = bool(regex.fullmatch(user_ids.PATTERN, text)) and len(text) <= 64
    assert is_described == is_valid_id(text)


def typed(text: str) -> str | None:
    try:
        return user_ids.typed(text)
    except ValueError:
        return None


NEAR_IDS = st.lists(
    st.sampled_from([*"059eEtT_.-", "12", "2024", "Jan", "may", "DEC", "NaN", "null", "TRUE", "inf", "None", "1.5"]),
    min_size=1,
    max_size=6,
).map("".join)


@examples
@given(st.from_regex(user_ids.TYPED, fullmatch=True) | NEAR_IDS | st.from_regex("[A-Za-z0-9_.-]{1,8}", fullmatch=True))
@example("1.5")
@example("12-05")
@example("1e5")
@example("Jan-24")
@example("5-may-2024t10")
@example("2024-01-05T10")
@example("NULL")
@example("-.-")
@example("user-7")
@example("null-7")
def test_ids_that_are_entered(text: str) -> None:
    is_described = bool(re.fullmatch(user_ids.TYPED, text)) and len(text) <= 64
    assert is_described == (typed(text) == text)


CHARACTERS = [chr(code) for code in (*range(0xD800), *range(0xE000, 0x20000), *range(0xE0000, 0xE1000))]


def test_no_pattern_needs_a_flag_to_compile() -> None:
    """Without JavaScript's flag u, a character beyond U+FFFF is two, and a range of them is out of order."""
    written = (ROOT / "openapi.json").read_text()
    patterns = re.findall(r'"pattern": "(.*)"', written)
    assert len(patterns) > 20
    assert not [pattern for pattern in patterns if re.search("[\U00010000-\U0010ffff]-", pattern)]


def test_every_text_that_is_described_as_empty_is() -> None:
    near = [char for char in CHARACTERS if char < "\U00010000"]
    wrong = [char for char in near if bool(re.search(texts.EMPTY_PATTERN, char)) == bool(texts.clean(char))]
    assert not list(map(hex, map(ord, wrong)))


@pytest.mark.long
def test_every_name_that_is_described_is_visible() -> None:
    described = [char for char in CHARACTERS if regex.search(texts.VISIBLE_PATTERN, char)]
    assert len(described) > 50_000
    assert all(texts.is_visible(texts.clean(char)) for char in described)


@pytest.mark.long
def test_every_letter_that_is_described_is_a_name() -> None:
    assert all(names.user_provided(char) for char in CHARACTERS if regex.search(names.USER_PROVIDED, char))


@examples
@given(st.text(st.characters(categories=["L", "M"]) | st.sampled_from(" .'’ʼ‘`‐‑–-"), min_size=1, max_size=100))
def test_every_described_name_is_accepted(text: str) -> None:
    if regex.search(names.USER_PROVIDED, text) and len(names.clean(text)) <= 100 and names.clean(text):
        assert names.user_provided(text)


@pytest.mark.parametrize("text", ["", " ", "-", "1", "Анна1", "Анна!", "А,Б", "<b>"])
def test_every_other_name_is_refused(text: str) -> None:
    assert not regex.search(names.USER_PROVIDED, text)
    with pytest.raises(ValueError, match="letters"):
        names.user_provided(text)
