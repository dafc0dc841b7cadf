"""The WSGI environment of a request to the RSGI server."""

from __future__ import annotations

import codecs
import io
import re
import sys
from typing import TYPE_CHECKING
from urllib.parse import quote

from django.core.exceptions import TooManyFieldsSent
from django.http import HttpRequest, QueryDict

from config.lib import request_id

if TYPE_CHECKING:
    from wsgiref.types import WSGIEnvironment

    from granian.rsgi import Scope


# Losing these is harmless, and should not fail a request: any other site may have set a cookie that is not ASCII.
_LOSSLESS = frozenset({"cookie", "user-agent", "referer", "from", "via", "origin"})
_ASCII = bytes(range(128)).decode()
# In characters. Django parses these headers with Python's parser of e-mail, whose time grows with the square of the
# number of semicolons.
LONGEST_PARSED = 1024
# The time of Python's decoders grows with the square of the length, in the event loop and in Django; “undefined” always
# fails.
_REFUSED_CHARSETS = frozenset({"punycode", "idna", "undefined"})
# RFC 9110 (12.5.1), without quoted strings and without RFC 8187's names that end with *: these can make Django fail.
_WORD = r"[\w!#$%&'+.^`|~-]++"
_RANGE = rf"(?:\*/\*|{_WORD}/(?:\*|{_WORD}))(?:[ \t]*+;(?:[ \t]*+{_WORD}={_WORD})?+)*+"
_ACCEPT = re.compile(rf"[ \t]*+(?:{_RANGE})?+[ \t]*+(?:,[ \t]*+(?:{_RANGE})?+[ \t]*+)*+", re.ASCII)


def lost_headers(scope: Scope) -> set[str]:
    """Return the names of the headers that granian drops because a value is not ASCII.

    A request without its X-Forwarded-For, for example, would seem to come from the proxy. Headers that may be lost
    without harm, such as Cookie, are not returned.
    """
    return set(scope.headers.keys()) - {name for name, _value in scope.headers.items()} - _LOSSLESS


class _ContentType(HttpRequest):
    """An incomplete request, with only the attributes that Django reads from the Content-Type, such as the charset."""

    def __init__(self, wsgi: WSGIEnvironment) -> None:
        self._set_content_type_params(wsgi)  # type: ignore[attr-defined]


def unreadable_part(wsgi: WSGIEnvironment) -> str:
    """Return an error message if Django cannot read the Content-Type, or decode the query in the charset named there.

    If there is no error, return "". Django itself would fail before any of its error handlers could respond.
    """
    malformed = "The Content-Type is malformed or too long."
    if len(wsgi["CONTENT_TYPE"]) > LONGEST_PARSED:
        return malformed
    try:
        if charset := _ContentType(wsgi).encoding:
            if codecs.lookup(charset).name in _REFUSED_CHARSETS:
                return malformed
            # As bytes, like in Django's own call: of a string, QueryDict would decode only the parts with "%".
            QueryDict(wsgi["QUERY_STRING"].encode(), encoding=charset)
    except TooManyFieldsSent:
        return "The query has too many fields."
    except (LookupError, ValueError):
        return malformed
    return ""


def wsgi_environ(scope: Scope) -> WSGIEnvironment:
    """Return the WSGI environment of a request without a body, with the current request ID as its X-Request-ID.

    Headers whose names have underscores are left out: WSGI cannot distinguish X_Forwarded_For from the proxy's
    X-Forwarded-For. A long or malformed Accept is left out too. Repeated headers are joined, as RFC 9110 (5.3)
    and RFC 6265 (cookies) say.
    """
    host, _, port = scope.server.rpartition(":")
    result: WSGIEnvironment = {
        "REQUEST_METHOD": scope.method,
        "SCRIPT_NAME": "",
        # WSGI's strings are bytes decoded as Latin-1.
        "PATH_INFO": scope.path.encode().decode("latin-1"),
        # Otherwise, Django would encode bytes that are not ASCII a second time in the links of its responses.
        "QUERY_STRING": quote(scope.query_string, safe=_ASCII, errors="surrogatepass"),
        "SERVER_NAME": host,
        "SERVER_PORT": port,
        "SERVER_PROTOCOL": f"HTTP/{scope.http_version}",
        "REMOTE_ADDR": scope.client.rpartition(":")[0].strip("[]"),
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": scope.scheme,
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
    }
    for header, value in scope.headers.items():
        if "_" not in header:
            name = f"HTTP_{header.upper().replace('-', '_')}"
            separator = "; " if header == "cookie" else ","
            result[name] = f"{result[name]}{separator}{value}" if name in result else value
    result["CONTENT_TYPE"] = result.pop("HTTP_CONTENT_TYPE", "")
    accept = result.get("HTTP_ACCEPT", "")
    if len(accept) > LONGEST_PARSED or not _ACCEPT.fullmatch(accept):
        del result["HTTP_ACCEPT"]
    for name in ("HTTP_CONTENT_LENGTH", "HTTP_TRANSFER_ENCODING"):
        result.pop(name, None)
    result["HTTP_X_REQUEST_ID"] = request_id.current.get()
    set_body(result, b"")
    return result


def set_body(wsgi: WSGIEnvironment, body: bytes) -> None:
    wsgi["wsgi.input"], wsgi["CONTENT_LENGTH"] = io.BytesIO(body), str(len(body))
