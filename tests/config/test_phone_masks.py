"""Phones in any usual spelling are masked; IDs, times, addresses and decimal numbers stay readable."""

from __future__ import annotations

import json
import logging
import string
from datetime import UTC, timedelta, timezone

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from config.lib import request_id
from config.lib.logs import formatter
from config.lib.phone_masks import has_phone, mask_phones

SEPARATORS = st.sampled_from([" ", "-", ".", "(", ")", "/", "_", " (", ") ", ")-", "\u00a0", "\u2011", "\u2013", " - "])


@st.composite
def phones(draw: st.DrawFn) -> str:
    """Return a phone of ten to fifteen digits in up to six groups, with a separator between two of them."""
    digits = draw(st.sampled_from("789")) + draw(st.text(string.digits, min_size=9, max_size=14))
    cuts = sorted(draw(st.sets(st.integers(1, len(digits) - 1), max_size=5)))
    groups = [digits[start:end] for start, end in zip([0, *cuts], [*cuts, len(digits)], strict=True)]
    text = groups[0] + "".join(draw(SEPARATORS) + group for group in groups[1:])
    # 8.25 is a decimal number, and 81.20.30.400 is an address.
    return text if len(cuts) not in (1, 3) else text.replace(".", "-")


OFFSETS = st.sampled_from([None, UTC, timezone(timedelta(hours=3)), timezone(-timedelta(hours=9, minutes=30))])
READABLE = st.one_of(
    st.uuids().map(str),
    st.text("0123456789abcdef", min_size=16, max_size=64),
    st.text("0123456789abcdef", min_size=8, max_size=15).map(lambda text: f"{text}f"),
    st.text(string.digits, min_size=16, max_size=40),
    st.text(string.digits, min_size=1, max_size=9),
    st.datetimes(timezones=OFFSETS).map(str),
    st.datetimes(timezones=OFFSETS).map(lambda at: at.isoformat()),
    st.datetimes(timezones=OFFSETS).map(lambda at: at.isoformat(timespec="minutes")),
    st.dates().map(str),
    st.times().map(str),
    st.ip_addresses().map(str),
    st.floats(0.0001, 999999, allow_nan=False).map(lambda number: f"{number:.6f}"),
)
AROUND = st.sampled_from([("", ""), ("user ", "!"), ("«", "»"), ("x=", ","), ('"', '"')])


@settings(deadline=None, derandomize=True)
@given(phones(), st.booleans(), AROUND)
def test_it_works(phone: str, has_plus: bool, around: tuple[str, str]) -> None:
    before, after = around
    digits = [character for character in phone if character.isdigit()]
    assert mask_phones(f"{before}{'+' * has_plus}{phone}{after}") == f"{before}…{''.join(digits[-2:])}{after}"


@settings(deadline=None, derandomize=True)
@given(READABLE, AROUND)
def test_what_is_no_phone_stays_readable(text: str, around: tuple[str, str]) -> None:
    before, after = around
    assert mask_phones(f"{before}{text}{after}") == f"{before}{text}{after}"


@settings(deadline=None, derandomize=True)
@given(phones().map(lambda phone: phone.replace(" ", "-")))
def test_a_request_id_has_no_phone(phone: str) -> None:
    assert has_phone(phone)
    assert request_id.begin(phone) != phone


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("8 (916) 111-22-33", "…33"),
        ("8.9161112233", "…33"),
        ("+12025550", "…50"),
        ("tel8-916-111-22-33.", "tel8-…33."),
        # No digit of the second phone may stay, whatever is between them.
        ("8 916 111-22-33 8 916 111-22-44", "…44"),
        ("89161112233, 89161112244", "…33, …44"),
        ("2026-11-29 06:29:28 8 916 111-22-33", "2026-11-29 06:29:28 …33"),
        ("2026-11-29 8 916 111-22-33", "2026-11-29 …33"),
        ("192.168.100.100:8095 89161112233", "192.168.100.100:8095 …33"),
        # Seconds since 1970 have as many digits as a phone.
        ("1764396000", "…00"),
    ],
)
def test_beside_each_other(text: str, expected: str) -> None:
    assert mask_phones(text) == expected


def test_the_user_of_a_log_line_is_masked() -> None:
    record = logging.makeLogRecord(
        {"name": "access", "msg": "log in", "levelname": "INFO", "user": "8 (916) 111-22-33"}
    )
    assert json.loads(formatter().format(record))["user"] == "…33"
