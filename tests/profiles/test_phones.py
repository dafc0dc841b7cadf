import pytest
from hypothesis import given
from hypothesis import strategies as st

from profiles.phones import masked, normalize

SPELLINGS = [
    "+79161234567",
    "79161234567",
    "89161234567",
    "9161234567",
    "8 916 123-45-67",
    "+7 (916) 123 45 67",
    "8(916)123-45-67",
    "+7\u00a0916\u00a0123–45–67",
    "8.916.123.45.67",
]


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_russian_spellings_are_one_phone(spelling: str) -> None:
    assert normalize(spelling) == "+79161234567"


@pytest.mark.parametrize("phone", ["+1234567890", "+12345678", "+123456789012345", "+375291234567"])
def test_other_numbers_are_taken_as_e164(phone: str) -> None:
    assert normalize(phone) == phone


@pytest.mark.parametrize(
    "spelling",
    ["", "+", "123", "1234567", "12345678901", "+1234567", "+1234567890123456", "+7916123456", "+791612345678",
     "٩١٦١٢٣٤٥٦٧", "8916123456a", "+0123456789", "phone", "++79161234567", "8" * 100,
     "(812) 123-45-67.0", "8.1212345678", "812123.4567", "8121234567.5", "01.01.2024 10", "2024.01.01 10",
     "(-8121234567)", "+-8121234567", "-8 812 123-45-67", "1/1/2024"],
)  # fmt: skip
def test_it_refuses_what_is_no_phone(spelling: str) -> None:
    with pytest.raises(ValueError, match="Enter a Russian phone"):
        normalize(spelling)


@given(st.text())
def test_it_is_stable_or_refuses(text: str) -> None:
    try:
        phone = normalize(text)
    except ValueError:
        return
    assert normalize(phone) == phone


def test_logs_see_two_digits() -> None:
    assert masked("+79161234567") == "…67"
