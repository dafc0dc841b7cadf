import pytest
from hypothesis import given
from hypothesis import strategies as st

from employees.import_export.cells import read_id
from profiles.user_ids import typed, user_id_of

NO_ID = ("no", "none", "na", "tba", "null", "nil", "nan", "unknown", "tbd", "нет", "неизвестно", "н/д")
LOGICAL = ("yes", "да", "true", "false", "истина", "ложь")
MARKS = st.lists(st.sampled_from(["", "", ".", "-", "_", "/", " ", "!", ")"]), min_size=11)


@pytest.mark.parametrize(
    ("value", "user_id"),
    [
        (1, "1"),
        (2**63 - 1, str(2**63 - 1)),
        ("123", "123"),
        ("test_user", "test_user"),
        ("a.b-c", "a.b-c"),
        ("007x", "007x"),
    ],
)
def test_a_number_and_its_spelling_are_one_person(value: object, user_id: str) -> None:
    assert user_id_of(value) == user_id


@pytest.mark.parametrize(
    "value",
    [0, -5, 2**63, True, None, 1.0, "", "0", "007", str(2**63), "9" * 64, "x" * 65, "a b", "имя", "a\n", "١٢٣"],
)
def test_it_refuses_an_invalid_id(value: object) -> None:
    with pytest.raises(ValueError, match="Invalid MAX user ID"):
        user_id_of(value)


@given(st.sampled_from(NO_ID), MARKS, st.booleans())
def test_a_word_for_none_is_no_id(word: str, between: list[str], is_upper: bool) -> None:
    text = "".join(letter + mark for letter, mark in zip(word.upper() if is_upper else word, between, strict=False))
    with pytest.raises(ValueError, match="stands for a missing value"):
        typed(text)
    assert read_id(text) == ""


@given(st.sampled_from(LOGICAL), MARKS, st.booleans())
def test_a_yes_is_no_id_and_no_empty_cell(word: str, between: list[str], is_upper: bool) -> None:
    text = "".join(mark + letter for letter, mark in zip(word.upper() if is_upper else word, between, strict=False))
    for read in (typed, read_id):
        with pytest.raises(ValueError, match="is a logical value"):
            read(f"{text}{between[-1]}")


@pytest.mark.parametrize("text", ["test_user", "north", "no-1", "unknown_user", "n.a.ivanova", "N", "nobody", "yes7"])
def test_another_word_is_an_id(text: str) -> None:
    assert typed(text) == read_id(text) == text
