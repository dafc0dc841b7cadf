"""The format of all dates and times in texts: in the site's time zone (``TIME_ZONE``), with the name of the zone."""

from datetime import UTC, datetime

from django.utils import timezone
from django.utils.formats import date_format
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _


def text(at: datetime, *, has_seconds: bool = True) -> str:
    """Return a datetime as plain text in the active language; planned times need no seconds."""
    return _format(timezone.localtime(at), "DATETIME_FORMAT" if has_seconds else "SHORT_DATETIME_FORMAT")


def clock(at: datetime) -> str:
    """Return the time of day of a datetime, for texts about today."""
    return _format(timezone.localtime(at), "H:i T")


def zone() -> str:
    """Return the name of the site's time zone, for date and time fields."""
    return _format(timezone.localtime(), "T")


def element(at: datetime) -> SafeString:
    """Return a ``<time>`` element with UTC as its tooltip; screens.js shows it in the reader's own time zone."""
    iso, utc = timezone.localtime(at).isoformat(timespec="seconds"), _format(at.astimezone(UTC), "DATETIME_FORMAT")
    return format_html('<time datetime="{}" title="{}">{}</time>', iso, utc, text(at))


def stamp(at: datetime) -> str:
    """Return a datetime for the output of commands, with its UTC offset: ``2026-11-29 22:20:05+03:00``."""
    return timezone.localtime(at).isoformat(" ", "seconds")


def _format(at: datetime, name: str) -> str:
    return date_format(at, name).replace("MSK", _("MSK"))
