"""The message of a refusal: the first error in words, however deep the field is."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rest_framework.exceptions import ValidationError

from config.lib.http import errors

TEXTS = st.sampled_from(["This field is required.", "Enter a number."])
DETAILS: st.SearchStrategy[Any] = st.recursive(
    TEXTS.map(lambda text: [text]),
    lambda inner: (
        st.dictionaries(st.sampled_from(["steps", "at", 0, 1]), inner, min_size=1) | st.lists(inner, min_size=1)
    ),
)


def message(details: Any) -> str:
    response = errors.handle(ValidationError(details), {})
    assert response is not None
    return str(response.data["error"]["message"])


@pytest.mark.django_db
@given(DETAILS)
def test_it_ends_with_a_sentence(details: Any) -> None:
    text = message(details)
    assert text.rpartition(": ")[2] in ("This field is required.", "Enter a number.")
    assert not set("[]{}'") & set(text)


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("details", "text"),
    [
        ({"steps": {0: {"at": ["No."]}}}, "steps.0.at: No."),
        ({"steps": [{}, {"at": ["No."]}]}, "steps.1.at: No."),
        ([{}, {"phone": ["No.", "Never."]}], "1.phone: No."),
        ({"phone": ["No."], "name": ["Never."]}, "phone: No."),
        (["No."], "No."),
    ],
)
def test_it_names_the_field(details: Any, text: str) -> None:
    assert message(details) == text
