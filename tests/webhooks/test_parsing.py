"""The scanner that reads ordinary updates gives the same values and refusals as the careful decoder behind it."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from webhooks import payloads

ODD_JSON = [
    b" {} ", b"{}\n", b"\t[1]\r\n", b"NaN", b"[-Infinity]", b"[1e999]", b"[1E400, 0.5]", b"", b" ", b"\n\t", b"{} x",
    b"1" * 4300, b"1" * 4301, b"[-" + b"9" * 5000 + b"]", b"\xef\xbb\xbf{}", b"[" * 100_000, b'{"a":1,"a":2}',
    b'"\\ud800"', b"{", b"'a'", b"[1,]", b"\xff", b"01", b"tru", b'"\x01"',
]  # fmt: skip


def careful(body: bytes) -> object:
    """Parse as the receiver does, without its fast path."""
    try:
        return payloads._parse_carefully(body.decode())
    except UnicodeDecodeError:
        return "the body is not UTF-8"
    except payloads.MalformedUpdate as error:
        return str(error)


def parsed(body: bytes) -> object:
    try:
        return payloads.parse(body)
    except payloads.MalformedUpdate as error:
        return str(error)


@pytest.mark.parametrize("body", ODD_JSON, ids=range(len(ODD_JSON)))
def test_the_fast_path_reads_odd_json_as_the_careful_one(body: bytes) -> None:
    assert parsed(body) == careful(body)


ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(ANY_JSON, st.text(" \t\r\n", max_size=2), st.text(" \t\r\n,]}x", max_size=2))
def test_the_fast_path_reads_what_the_careful_one_reads(value: object, before: str, after: str) -> None:
    body = f"{before}{json.dumps(value, ensure_ascii=False)}{after}".encode(errors="surrogatepass")
    assert parsed(body) == careful(body)
