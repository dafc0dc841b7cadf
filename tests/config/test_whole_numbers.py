"""Parameters that OpenAPI describes as integers accept ASCII digits only."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rest_framework.serializers import Serializer

from employees.api.serializers import EmployeeQuerySerializer
from monitoring.api.backfill import BackfillStartSerializer
from monitoring.api.rollout import CancelSerializer

FIELDS: list[tuple[type[Serializer[Any]], str]] = [
    (EmployeeQuerySerializer, "university_id"),
    (BackfillStartSerializer, "university_id"),
    (CancelSerializer, "plan"),
]
ODD = ["９", "1.0", "1.", "+5", " 5 ", "5 ", "5\n", "1_0", "٥", "0x5", "1e1", "", "0", "-1", "9" * 20, str(2**63)]


def accepts(serializer: type[Serializer[Any]], field: str, value: object) -> bool:
    checked = serializer(data={field: value})
    checked.is_valid()
    return field not in checked.errors


@settings(deadline=None, derandomize=True)
@given(st.text(st.sampled_from("0123456789０９٥+-._ \n\u00a0e"), max_size=4) | st.integers(-5, 2**65).map(str))
def test_it_works(text: str) -> None:
    is_valid = re.fullmatch("[0-9]+", text) is not None and 1 <= int(text) < 2**63
    assert [accepts(*field, text) for field in FIELDS] == [is_valid] * len(FIELDS)


@pytest.mark.parametrize("value", [*ODD, True, 1.5, [], {}])
def test_it_refuses(value: object) -> None:
    assert [accepts(*field, value) for field in FIELDS] == [False] * len(FIELDS)


@pytest.mark.parametrize("value", [1, "1", "007", 2**63 - 1, str(2**63 - 1)])
def test_it_accepts(value: object) -> None:
    assert [accepts(*field, value) for field in FIELDS] == [True] * len(FIELDS)
