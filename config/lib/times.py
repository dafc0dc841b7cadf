"""The one format of moments: in the site's time zone (``TIME_ZONE``), which every text names."""

from datetime import UTC, datetime

from django.utils import timezone
from django.utils.formats import date_format
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _


def text(at: datetime, *, has_seconds: bool = True) -> str:
    """Return a moment as plain text in the active language; planned moments need no seconds."""
    return _format(timezone.localtime(at), "DATETIME_FORMAT" if has_seconds else "SHORT_DATETIME_FORMAT")


def clock(at: datetime) -> str:
    """Return the time of a moment, for texts about today."""
    return _format(timezone.localtime(at), "H:i T")


def zone() -> str:
    """Return the name of the site's time zone, for fields in which a moment is entered."""
    return _format(timezone.localtime(), "T")


def element(at: datetime) -> SafeString:
    """Return HTML with a moment; pointed at, it shows UTC, and screens.js shows it in the reader's own zone."""
    iso, utc = timezone.localtime(at).isoformat(timespec="seconds"), _format(at.astimezone(UTC), "DATETIME_FORMAT")
    return format_html('<time datetime="{}" title="{}">{}</time>', iso, utc, text(at))


def stamp(at: datetime) -> str:
    """Return a moment for the output of commands, with its offset: ``2026-11-29 22:20:05+03:00``."""
    return timezone.localtime(at).isoformat(" ", "seconds")


def _format(at: datetime, name: str) -> str:
    return date_format(at, name).replace("MSK", _("MSK"))
