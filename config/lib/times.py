"""The format of all dates and times in texts: in the site's time zone (``TIME_ZONE``), with the name of the zone."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any

from django.utils import timezone
from django.utils.formats import date_format
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import get_language
from django.utils.translation import gettext as _

_is_for_terminal = ContextVar("is_for_terminal", default=False)


@contextmanager
def for_terminal() -> Iterator[None]:
    """Within the block, let ``text()`` format each datetime as ``stamp()`` does.

    A command then prints all datetimes in one format, including those in messages that it shares with pages.
    """
    token = _is_for_terminal.set(True)
    try:
        yield
    finally:
        _is_for_terminal.reset(token)


def text(at: datetime, *, has_seconds: bool = True) -> str:
    """Return a datetime as plain text in the active language; with ``has_seconds=False``, leave out the seconds."""
    if _is_for_terminal.get():
        return stamp(at)
    return _format(timezone.localtime(at), "DATETIME_FORMAT" if has_seconds else "SHORT_DATETIME_FORMAT")


def clock(at: datetime) -> str:
    """Return the time of day of a datetime, for texts about today."""
    return _format(timezone.localtime(at), "H:i T")


def zone() -> str:
    """Return the name of the site's time zone, for date and time fields and for hours of the day."""
    return _format(timezone.localtime(timezone=timezone.get_default_timezone()), "T")


def element(at: datetime) -> SafeString:
    """Return a ``<time>`` element with UTC as its tooltip; screens.js shows it in the reader's own time zone."""
    utc = _format(at.astimezone(UTC), "DATETIME_FORMAT")
    return format_html('<time datetime="{}" title="{}">{}</time>', iso(at), utc, text(at))


def iso(at: datetime) -> str:
    """Return a datetime for attributes and scripts: ``2026-11-29T22:20:05+03:00``."""
    return timezone.localtime(at).isoformat(timespec="seconds")


def stamp(at: datetime) -> str:
    """Return a datetime for the output of commands, with its UTC offset: ``2026-11-29 22:20:05+03:00``."""
    return timezone.localtime(at).isoformat(" ", "seconds")


def page_format() -> dict[str, Any]:
    """Return what screens.js needs to find the site's times in a page and to show them in the reader's time zone.

    ``months`` are the short names of the 12 months, as the page's dates contain them. ``zones`` maps each name that the
    site's time zone has this year, such as MSK, to its offset from UTC in minutes.
    """
    year = timezone.localtime().year
    days = [timezone.make_aware(datetime(year, month, 1)) for month in range(1, 13)]  # noqa: DTZ001 (made aware)
    offsets = {_format(at, "T"): at.utcoffset() for at in days}
    zones = {name: round(offset.total_seconds() / 60) for name, offset in offsets.items() if offset is not None}
    return {"months": [date_format(day, "M" if get_language() == "en" else "b") for day in days], "zones": zones}


def _format(at: datetime, name: str) -> str:
    return date_format(at, name).replace("MSK", _("MSK"))
