"""Messages for errors of other systems, looked up by the exception class names that logs and reports contain."""

from __future__ import annotations

import re

from django.utils.translation import gettext_noop

from config.lib.messages import Message
from config.postgres.base import NOT_CONFIRMED, UNANSWERED

T = gettext_noop

_TIMED_OUT = T("timed out")
_CONNECTION_FAILED = T("connection failed")
_CONNECTION_LOST = T("connection lost")
_WRONG_PASSWORD = T("wrong password")
_UNEXPECTED = T("unexpected error, see the logs")
# Keyed by class name, since the error is often a text from another process.
_BY_CLASS = {
    **dict.fromkeys(("TimeoutError", "Timeout", "ConnectTimeout", "ReadTimeout"), _TIMED_OUT),
    **dict.fromkeys(("ConnectionError", "ConnectionRefusedError"), _CONNECTION_FAILED),
    **dict.fromkeys(("ConnectionResetError", "ChunkedEncodingError", "SMTPServerDisconnected"), _CONNECTION_LOST),
    **dict.fromkeys(("AuthenticationError", "SMTPAuthenticationError"), _WRONG_PASSWORD),
    **dict.fromkeys(("OperationalError", "InterfaceError"), T("PostgreSQL did not respond or cancelled the query")),
    "CommitNotConfirmed": NOT_CONFIRMED,
    "CommitUnanswered": UNANSWERED,
    **dict.fromkeys(("DataError", "IntegrityError"), T("PostgreSQL rejected a value")),
    "ProgrammingError": T("the database schema does not match this version"),
    **dict.fromkeys(("SSLError", "SSLCertVerificationError"), T("certificate not trusted")),
    "FileNotFoundError": T("certificate file not found"),
    "MasterNotFoundError": T("Sentinel reports no primary server"),
    "JSONDecodeError": T("invalid response"),
    "BreakerOpen": T("too many failures, requests are paused for a few seconds"),
    "BusyLoadingError": T("still loading its data"),
    "OutOfMemoryError": T("out of memory"),
    "ReadOnlyError": T("read-only replica"),
    "NOREPLICAS": T("too few replicas, writes are refused"),
    "MISCONF": T("snapshots fail, writes are refused"),
    "NoPermissionError": T("permission denied"),
    "ResponseError": T("command rejected"),
    "SMTPRecipientsRefused": T("the mail server rejected the recipients"),
    "gaierror": T("host not found"),
}
_STATUS = re.compile(r"status (\d+)")
_CLASS = re.compile(r"[A-Z]\w+")


def message_for(error: str) -> Message:
    """Return the message for an error such as “info: TimeoutError” or “status 503”; return a sentence unchanged."""
    what = error.rpartition(": ")[2]
    if status := _STATUS.fullmatch(what):
        return Message("HTTP status %(status)s", {"status": status[1]})
    if text := _BY_CLASS.get(what):
        return Message(text)
    return Message(_UNEXPECTED if not what or _CLASS.fullmatch(what) else error.replace("%", "%%"))
