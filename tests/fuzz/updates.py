"""Generates hostile updates: recorded ones with parts replaced or dropped, in broken encodings."""

import copy
import json
from functools import reduce
from operator import getitem
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

PAYLOADS = [
    json.loads(path.read_bytes()) for path in sorted((Path(__file__).parent.parent / "payloads").glob("*.json"))
]

_TEXTS = st.one_of(
    st.text(st.characters(codec=None), max_size=40),
    st.sampled_from(
        ["", "\0", "\ud800", "/имя Анна", "меня зовут 👩‍🚀", "+79161234567", "x" * 70_000, "1" * 30, "a\u0301" * 200]
    ),
)
_NUMBERS = st.one_of(
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from([0, -1, 2**63, 2**63 - 1, 10**400, 1e300]),
)
VALUES = st.recursive(
    st.none() | st.booleans() | _NUMBERS | _TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_TEXTS, inner, max_size=4),
    max_leaves=8,
)


def _paths(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the path of keys to each part of a JSON value, the empty path of the whole included."""
    keys = value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    return [path, *(inner for key in keys for inner in _paths(value[key], (*path, key)))]


@st.composite
def mutated(draw: st.DrawFn) -> Any:
    update = copy.deepcopy(draw(st.sampled_from(PAYLOADS)))
    for _ in range(draw(st.integers(1, 4))):
        path = draw(st.sampled_from(_paths(update)))
        if not path:
            continue
        parent = reduce(getitem, path[:-1], update)
        if draw(st.booleans()):
            parent[path[-1]] = draw(VALUES)
        else:
            del parent[path[-1]]
    return update


@st.composite
def bodies(draw: st.DrawFn) -> bytes:
    """Generate mostly JSON, in any encoding; sometimes cut off, doubled, with a byte changed, or no JSON at all."""
    text = json.dumps(draw(mutated() | VALUES), ensure_ascii=draw(st.booleans()))
    body = text.encode("utf-8", errors="surrogatepass")
    fault = draw(st.sampled_from(["no", "no", "cut", "byte", "twice", "bytes"]))
    if fault == "cut":
        return body[: draw(st.integers(0, len(body)))]
    if fault == "byte" and body:
        index = draw(st.integers(0, len(body) - 1))
        return body[:index] + draw(st.binary(min_size=1, max_size=2)) + body[index + 1 :]
    return {"twice": body * 2, "bytes": draw(st.binary(max_size=60))}.get(fault, body)
