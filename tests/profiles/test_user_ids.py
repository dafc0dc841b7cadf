import pytest

from profiles.user_ids import user_id_of


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
