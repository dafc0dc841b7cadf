"""Updates as no messenger would send them: the recorded ones with parts replaced, dropped and repeated."""

import copy
import json
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


def _places(value: Any, place: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    keys = value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    return [place, *(found for key in keys for found in _places(value[key], (*place, key)))]


def _holder(value: Any, place: tuple[Any, ...]) -> Any:
    for key in place[:-1]:
        value = value[key]
    return value


@st.composite
def mutated(draw: st.DrawFn) -> Any:
    update = copy.deepcopy(draw(st.sampled_from(PAYLOADS)))
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.sampled_from(_places(update)))
        if not place:
            continue
        holder = _holder(update, place)
        if draw(st.booleans()):
            holder[place[-1]] = draw(VALUES)
        else:
            del holder[place[-1]]
    return update


@st.composite
def bodies(draw: st.DrawFn) -> bytes:
    """Mostly JSON, of whatever encoding; sometimes cut off, with a byte changed, or no JSON at all."""
    text = json.dumps(draw(mutated() | VALUES), ensure_ascii=draw(st.booleans()))
    body = text.encode("utf-8", errors="surrogatepass")
    spoilt = draw(st.sampled_from(["no", "no", "cut", "byte", "twice", "bytes"]))
    if spoilt == "cut":
        return body[: draw(st.integers(0, len(body)))]
    if spoilt == "byte" and body:
        index = draw(st.integers(0, len(body) - 1))
        return body[:index] + draw(st.binary(min_size=1, max_size=2)) + body[index + 1 :]
    return {"twice": body * 2, "bytes": draw(st.binary(max_size=60))}.get(spoilt, body)
