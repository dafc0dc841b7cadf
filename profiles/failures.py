"""What went wrong, in words: the class of an error is for logs and for programs that read the reports."""

from __future__ import annotations

import re

from django.utils.translation import gettext_noop

from config.lib.messages import Message

T = gettext_noop

_LATE = T("no answer in time")
_AWAY = T("it cannot be reached")
_UNKNOWN = T("an unexpected error, see the logs")
# By the names of classes: what is kept is a text, often of another process.
_BY_CLASS = {
    "TimeoutError": _LATE,
    "Timeout": _LATE,
    "ConnectTimeout": _LATE,
    "ReadTimeout": _LATE,
    "ConnectionError": _AWAY,
    "ConnectionRefusedError": _AWAY,
    "ConnectionResetError": T("the connection was cut"),
    "ChunkedEncodingError": T("the connection was cut"),
    "SSLError": T("the certificate is not trusted"),
    "JSONDecodeError": T("the answer makes no sense"),
    "BreakerOpen": T("it failed too often and is left alone for some seconds"),
    "BusyLoadingError": T("it has just started and reads its data"),
    "AuthenticationError": T("it does not accept the password"),
    "OutOfMemoryError": T("it has no memory left"),
    "ReadOnlyError": T("it is a copy that nobody may write to"),
    "ResponseError": T("it refused the command"),
    "OperationalError": T("PostgreSQL did not answer, or had to end the query"),
    "InterfaceError": T("PostgreSQL did not answer, or had to end the query"),
    "DataError": T("PostgreSQL refused a value"),
    "IntegrityError": T("PostgreSQL refused a value"),
    "ProgrammingError": T("the tables are not those of this release"),
    "SMTPRecipientsRefused": T("the mail server refused the addresses"),
    "SMTPAuthenticationError": T("it does not accept the password"),
    "SMTPServerDisconnected": T("the connection was cut"),
    "gaierror": T("its address is not known"),
}
_STATUS = re.compile(r"status (\d+)")
_CLASS = re.compile(r"[A-Z]\w+")


def message_for(error: str) -> Message:
    """Return the words for a text like “info: TimeoutError” or “status 503”; a sentence of ours stands for itself."""
    what = error.rpartition(": ")[2]
    if not what:
        return Message(_UNKNOWN)
    if status := _STATUS.fullmatch(what):
        return Message("it answered with status %(status)s", {"status": status[1]})
    if text := _BY_CLASS.get(what):
        return Message(text)
    return Message(_UNKNOWN if _CLASS.fullmatch(what) else error.replace("%", "%%"))
