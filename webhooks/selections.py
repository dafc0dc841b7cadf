"""Describe in words which updates were selected for a replay, by the admin's filters or the command's options."""

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import Any
from urllib.parse import parse_qsl

from django import forms
from django.utils import timezone
from django.utils.dateparse import parse_datetime
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from config.lib import times
from profiles import failures
from webhooks.models import State, display_type

# The filter by the text of a body, which is not recorded: it may be a name.
BODY = "body_text"
_MOST_SHOWN = 5
_STATES = dict(State.choices)


def _state(value: str) -> str:
    return str(_STATES.get(value, value))


def _reason(value: str) -> str:
    return str(failures.message_for(value))


def _moment(value: str) -> str:
    """Return a datetime in the pages' format; return a date without a time, and any other text, unchanged."""
    try:
        at = parse_datetime(value) if ":" in value else None
    except ValueError:
        return value
    return times.text(at if at.tzinfo else timezone.make_aware(at)) if at else value


# The label of each filter, and the function that displays its values. Parameters of sorting and paging are no filters.
_FILTERS: dict[str, tuple[Promise, Callable[[str], str]]] = {
    "state": (_("state"), _state),
    "update_type": (_("type"), display_type),
    "type": (_("type"), display_type),
    "reason": (_("reason"), _reason),
    "user_id": (_("MAX ID"), str),
    "user": (_("MAX ID"), str),
    "id": (_("update number"), str),
    "q": (_("MAX ID or update number"), str),
    "received_at_from": (_("received from"), _moment),
    "since": (_("received from"), _moment),
    "received_at_to": (_("received until"), _moment),
    "until": (_("received before"), _moment),
    BODY: (_("text in the update's body"), lambda _text: "…"),
}


def in_words(selection: str) -> str:
    """Return a stored selection in the reader's language; return a selection in an unknown form unchanged."""
    values: dict[str, list[str]] = {}
    for name, value in _pairs(selection):
        values.setdefault(name, []).append(value)
    parts = []
    for name, texts in values.items():
        if name in _FILTERS:
            label, shown = _FILTERS[name]
            # A datetime has two fields, for the day and for the time.
            given = [" ".join(texts)] if shown is _moment else texts
            more = f" … ({len(given)})" if len(given) > _MOST_SHOWN else ""
            parts.append(f"{label}: {', '.join(map(shown, given[:_MOST_SHOWN]))}{more}")
    return "; ".join(parts) or selection


def _pairs(selection: str) -> Iterator[tuple[str, str]]:
    """Yield the names and values of a query string, or of the options of a command."""
    if not selection.startswith("--"):
        for name, value in parse_qsl(selection):
            field = name.removesuffix("_0").removesuffix("_1").removesuffix("__exact").removesuffix("__in")
            yield from ((field, part) for part in (value.split(",") if name.endswith("__in") else [value]))
        return
    name = ""
    for word in selection.split():
        if word.startswith("--"):
            name = word.removeprefix("--")
        else:
            yield name, word


def received_between(parameters: Mapping[str, Any]) -> list[datetime | None]:
    """Return the start and the end of the filter by time of receipt; each of them is None if it is not set.

    Raise ValidationError if the start or the end is invalid.
    """
    ends = []
    for end, default in (("from", "00:00:00"), ("to", "23:59:59")):
        date, time = (parameters.get(f"received_at_{end}_{part}") for part in (0, 1))
        ends.append(forms.DateTimeField().clean(f"{date} {time or default}") if date or time else None)
    return ends
