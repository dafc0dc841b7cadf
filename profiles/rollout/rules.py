"""The rules that every change of the rollout keeps, on whatever surface it is asked for."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal, InvalidOperation

from django.core.exceptions import ValidationError

from config.lib.messages import Message, Text
from profiles.rollout.models import REASON_LENGTH, Flag
from profiles.rollout.phases import PHASES

STEPS = tuple(map(Decimal, (1, 5, 25, 50, 75, 100)))
# As long as the column's longest.
_REVISION_DIGITS = 19

Percents = dict[str, Decimal]


class ChangeRefused(ValidationError):
    """A change that must not be; the message is the same for an operator at the shell, in the admin and at the API."""

    def __init__(self, text: Text) -> None:
        super().__init__(str(text))
        self.text = text

    def __str__(self) -> str:
        return str(self.text)


def reason(given: Text) -> Text:
    """Return a reason as it is; refuse an empty or a long one of a person. What code gives is cut where it is kept."""
    if isinstance(given, Message):
        return given
    if not given.strip():
        raise ChangeRefused(Message("A reason is required"))
    if len(given) > REASON_LENGTH or not _is_text(given):
        limit = {"limit": REASON_LENGTH}
        raise ChangeRefused(Message("A reason is text of at most %(limit)d characters", limit))
    return given


def _is_text(words: str) -> bool:
    """Tell whether PostgreSQL can keep it: a shell passes on bytes that are no UTF-8 as surrogates."""
    return "\0" not in words and not any("\ud800" <= letter <= "\udfff" for letter in words)


def refuse_own_salt(flag: Flag) -> None:
    """Keep the phases' cohorts nested: they are counted with one salt."""
    others = Flag.objects.filter(name__in=PHASES).exclude(salt=flag.salt)
    if flag.name in PHASES and others.exists():
        raise ChangeRefused(Message("The phases have one salt: another one would deal the employees anew"))


def revision(given: object) -> int | None:
    """Return the revision that a change expects; None where nothing is given."""
    text = "" if given is None else str(given).strip()
    if not text:
        return None
    # Python reads no number of any length.
    if not (text.isdecimal() and len(text) <= _REVISION_DIGITS):
        digits = {"digits": _REVISION_DIGITS}
        raise ChangeRefused(Message("A revision is a whole number of at most %(digits)d digits", digits))
    return int(text)


def refuse_stale(expected: int | None, revision: int) -> None:
    if expected is not None and expected != revision:
        words = {"now": revision, "expected": expected}
        raise ChangeRefused(
            Message("Somebody else changed the rollout: it is at revision %(now)d, not %(expected)d", words)
        )


def phase_name(phase: object) -> str:
    """Return the flag's name of a phase given by number or name."""
    text = str(phase).strip()
    for number, name in enumerate(PHASES, start=1):
        if text in (str(number), name, name.partition("_")[0]):
            return name
    raise ChangeRefused(Message("There is no phase “%(phase)s”: it is 1, 2, 3 or 4", {"phase": text[:50]}))


def phase_number(name: str) -> int:
    return PHASES.index(name) + 1


def percentage(value: object) -> Decimal:
    """Return a percentage as a Decimal; refuse what is no number from 0 to 100 with two decimals."""
    try:
        percent = Decimal(str(value).strip().replace(",", "."))
    except InvalidOperation:
        percent = Decimal("NaN")
    if isinstance(value, bool) or not percent.is_finite() or not 0 <= percent <= 100 or percent != round(percent, 2):
        raise ChangeRefused(Message("A percentage is a number from 0 to 100 with at most two decimals"))
    return round(percent, 2)


def format_percent(percent: Decimal) -> str:
    """Return the percentage as people write it: 25, 12.5, 0.01."""
    return f"{percent.normalize():f}"


def settled(before: Mapping[str, Decimal], name: str, value: object) -> Percents:
    """Return all percentages after setting one: deeper phases come down with it, shallower ones bound it."""
    percent, number = percentage(value), phase_number(name)
    if number <= 2 and percent not in (0, 100):
        raise ChangeRefused(Message("Phase %(phase)d is all or nothing: 0 or 100", {"phase": number}))
    for shallower in PHASES[: number - 1]:
        if percent > before[shallower]:
            words = {"phase": number, "percent": format_percent(percent)}
            words |= {"shallower": phase_number(shallower), "bound": format_percent(before[shallower])}
            raise ChangeRefused(
                Message("Phase %(phase)d cannot be at %(percent)s %%: phase %(shallower)d is at %(bound)s %%", words)
            )
    deeper = {other: min(before[other], percent) for other in PHASES[number:]}
    return dict(before) | {name: percent} | deeper


def step_after(name: str, percent: Decimal) -> Decimal | None:
    """Return where one step leads from a percentage; None at the end."""
    steps = STEPS if phase_number(name) > 2 else STEPS[-1:]
    return next((step for step in steps if step > percent), None)


def step_before(percent: Decimal) -> Decimal:
    return max((step for step in STEPS if step < percent), default=Decimal(0))
