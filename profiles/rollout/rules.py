"""The rules for every change to the rollout, whether it comes from the admin, a command, the API or code."""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal

from django.core.exceptions import ValidationError

from config.lib.messages import Message, Text
from config.lib.text import clean, is_visible
from profiles.rollout.models import REASON_LENGTH
from profiles.rollout.phases import BUCKETED, PHASES, RESERVED

STEPS = tuple(map(Decimal, (1, 5, 25, 50, 75, 100)))
# The largest value of a bigint column has 19 digits.
_REVISION_DIGITS = 19

# Percentages are checked as text, in the OpenAPI schema too: Decimal accepts 1e1, 1_0 and digits of other alphabets.
PERCENTAGE = re.compile(r"(?:100(?:[.,]0{1,2})?|[0-9]{1,2}(?:[.,][0-9]{1,2})?)")

Percents = dict[str, Decimal]


class ChangeRefused(ValidationError):
    """Raised when the rules refuse a change; terminal, admin and API show the same message."""

    def __init__(self, text: Text) -> None:
        super().__init__(str(text))
        self.text = text

    def __str__(self) -> str:
        return str(self.text)


class InvalidValue(ChangeRefused):
    """Raised for a request that would be invalid in any state of the rollout; the message reveals no state."""


class RolloutHeld(ChangeRefused):
    """Raised for an increase while the rollout is paused or stopped."""


class OutsideUniversity(ChangeRefused):
    """Raised when a user who is limited to one university changes more than the rules of that university."""


def reason(text: Text) -> Text:
    """Return the reason, cleaned; raise ChangeRefused if a person's reason has no letter or digit, or is too long."""
    if isinstance(text, Message):
        return text
    cleaned = clean(text)
    if not is_visible(cleaned):
        raise InvalidValue(Message("A reason is required."))
    if len(cleaned) > REASON_LENGTH:
        params = {"limit": REASON_LENGTH}
        raise InvalidValue(Message("A reason must be text of at most %(limit)d characters.", params))
    return cleaned


def revision(value: object) -> int | None:
    """Return the revision that a change expects; None for an empty value.

    Raise ChangeRefused for any other value that is not a whole number.
    """
    text = "" if value is None else str(value).strip()
    if not text:
        return None
    # Check the length as well, since int() raises ValueError for a very long number.
    if not (text.isdecimal() and len(text) <= _REVISION_DIGITS):
        params = {"digits": _REVISION_DIGITS}
        raise InvalidValue(Message("A revision must be a whole number of at most %(digits)d digits.", params))
    return int(text)


def refuse_stale(expected: int | None, revision: int) -> None:
    if expected is not None and expected != revision:
        params = {"now": revision, "expected": expected}
        raise ChangeRefused(
            Message("The rollout has changed: it is at revision %(now)d, not %(expected)d. Check it and retry.", params)
        )


def refuse_criterion(flag: str, criterion: str) -> None:
    """Raise ChangeRefused for a waffle criterion, such as staff, if the flag is a phase or the comparison flag."""
    if flag in PHASES:
        params = {"phase": phase_number(flag), "criterion": criterion}
        raise ChangeRefused(
            Message(
                "Do not use “%(criterion)s”: whether an employee is in phase %(phase)d depends only on the phone. Use"
                " the phase's percentage or a university rule.",
                params,
            )
        )
    if flag in BUCKETED:
        raise ChangeRefused(
            Message(
                "Do not use “%(criterion)s”: whether “%(flag)s” applies to an employee depends only on the phone. Use"
                " the flag's percentage.",
                {"flag": flag, "criterion": criterion},
            )
        )


def unreserved(name: str) -> str:
    """Return the name of a new flag or switch; raise ChangeRefused if the rollout itself uses the name."""
    if name in RESERVED:
        raise ChangeRefused(
            Message("The name “%(name)s” is reserved for the rollout. Choose another name.", {"name": name})
        )
    return name


def hours(text: str | None) -> tuple[int, int] | None:
    """Return the start and end hour in a string such as “9-18”; None for an empty string.

    Raise ChangeRefused for any other string.
    """
    if not (text or "").strip():
        return None
    found = re.fullmatch(r"\s*([01]?[0-9]|2[0-3])\s*[-–]\s*([01]?[0-9]|2[0-4])\s*", text or "")
    if not found:
        raise ChangeRefused(Message("Enter the hours as two numbers from 0 to 24, such as 9-18."))
    return int(found[1]), int(found[2])


def phase_name(phase: object) -> str:
    text = str(phase).strip()
    for number, name in enumerate(PHASES, start=1):
        if text in (str(number), name, name.partition("_")[0]):
            return name
    raise InvalidValue(Message("There is no phase “%(phase)s”: choose 1, 2, 3 or 4.", {"phase": text[:50]}))


def phase_number(name: str) -> int:
    return PHASES.index(name) + 1


def percentage(value: object) -> Decimal:
    """Return the percentage as a Decimal; raise ChangeRefused unless it is from 0 to 100 with at most two decimals."""
    text = str(value).strip()
    is_number = PERCENTAGE.fullmatch(text) if isinstance(value, str) else not isinstance(value, bool)
    percent = Decimal(text.replace(",", ".")) if is_number else Decimal("NaN")
    if not percent.is_finite() or not 0 <= percent <= 100 or percent != round(percent, 2):
        raise InvalidValue(Message("A percentage must be a number from 0 to 100 with at most two decimals."))
    return round(percent, 2)


def format_percent(percent: Decimal) -> str:
    """Return the percentage without trailing zeros and without a percent sign, such as 25, 12.5 or 0.01."""
    return f"{percent.normalize():f}"


def set_phase(before: Mapping[str, Decimal], name: str, value: object) -> Percents:
    """Return the percentages of all phases after one is set; later phases with a higher percentage are lowered to it.

    Raise ChangeRefused if the percentage is invalid or above that of an earlier phase.
    """
    percent, number = percentage(value), phase_number(name)
    if number <= 2 and percent not in (0, 100):
        raise InvalidValue(Message("Phase %(phase)d can only be at 0%% or 100%%.", {"phase": number}))
    for earlier in PHASES[: number - 1]:
        if percent > before[earlier]:
            params = {"phase": number, "percent": format_percent(percent)}
            params |= {"earlier": phase_number(earlier), "limit": format_percent(before[earlier])}
            raise ChangeRefused(
                Message("Phase %(phase)d cannot go to %(percent)s%%: phase %(earlier)d is at %(limit)s%%.", params)
            )
    later = {other: min(before[other], percent) for other in PHASES[number:]}
    return dict(before) | {name: percent} | later


def step_before(percent: Decimal) -> Decimal:
    """Return the next step of a phase below this percentage; 0 if there is none."""
    return max((step for step in STEPS if step < percent), default=Decimal(0))


def step_after(name: str, percent: Decimal) -> Decimal | None:
    """Return the next step of a phase above this percentage; None at 100%."""
    steps = STEPS if phase_number(name) > 2 else STEPS[-1:]
    return next((step for step in steps if step > percent), None)
