"""The one HTTP client of MAX: the direct API, subscriptions and long polling send their requests through ``call``."""

from __future__ import annotations

import http.client
import io
import json
import socket
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from datetime import timedelta
from typing import Any, TypeVar
from urllib.parse import urlsplit

import requests
import stamina
import urllib3
from django.conf import settings
from django.utils import translation
from django.utils.translation import gettext_noop as _
from requests import codes
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection

from config.lib.messages import Message

T = TypeVar("T")

ATTEMPTS = 3
LARGEST_ANSWER_MIB = 8
_SHORTEST_PAUSE = 0.1
_LONGEST_PAUSE = 3600.0
# Seconds before the next try where MAX names none in Retry-After, which it documents nowhere.
_PAUSES = {codes.too_many_requests: 1.0, codes.bad_gateway: 0.0, codes.unavailable: 0.0, codes.gateway_timeout: 0.0}


class MaxError(Exception):
    """MAX was not reached in time, or refused: nothing is known, not even that there is nobody.

    ``str()`` is one English line for logs and terminals, ``message`` the same for people; no secret is in them.
    ``is_refused``: the same request would be refused again. ``retry_after``: seconds until it may be sent again; 0 at
    once if it may arrive twice; None if another try is not worth it within this call.
    """

    def __init__(
        self,
        msgid: str,
        is_refused: bool = False,
        is_timeout: bool = False,
        retry_after: float | None = None,
        **words: Any,
    ) -> None:
        super().__init__(msgid)
        self.message = Message(msgid, words)
        self.is_refused, self.is_timeout, self.retry_after = is_refused, is_timeout, retry_after

    def __str__(self) -> str:
        with translation.override("en"):
            return str(self.message)


class UnexpectedAnswer(MaxError):
    """MAX answered, but not in the form that its API documents."""


def new_deadline(extra: timedelta = timedelta()) -> float:
    """Return the end of a call that begins now, in monotonic seconds."""
    return time.monotonic() + (settings.MAX_API_TIMEOUT + extra).total_seconds()


def call(
    method: str,
    path: str,
    read: Callable[[dict[str, Any]], T],
    *,
    deadline: float,
    is_safe: bool = False,
    each_try: Callable[[float], AbstractContextManager[Any]] = nullcontext,
    **sent: Any,
) -> T:
    """Return what ``read`` makes of the JSON object in MAX's answer; raise MaxError, at the latest at ``deadline``.

    What was throttled is sent again when MAX allows it. A lost connection and a gateway's error are tried again where
    ``is_safe`` says that the request may arrive twice. ``each_try`` surrounds every try.
    """
    if not settings.MAX_BOT_TOKEN:
        raise MaxError(_("MAX is not called: MAX_BOT_TOKEN is not set"), is_refused=True)

    def pause(error: Exception) -> bool | float:
        if not isinstance(error, MaxError) or error.retry_after is None or not (error.retry_after or is_safe):
            return False
        seconds = max(error.retry_after, _SHORTEST_PAUSE)
        return seconds if seconds < deadline - time.monotonic() else False

    for attempt in stamina.retry_context(on=pause, attempts=ATTEMPTS, timeout=None):
        with attempt, each_try(deadline):
            answer = _send(method, path, deadline, **sent)
            try:
                return read(answer)
            except (LookupError, TypeError, AttributeError, ValueError) as error:
                raise UnexpectedAnswer(_("the answer of MAX does not have the documented form")) from error
    raise AssertionError("stamina returns or raises")


def printable(text: str) -> str:
    """Return what MAX wrote fit for a terminal, without a secret that it may quote."""
    for secret in (settings.MAX_BOT_TOKEN, *(secret.decode() for secret in settings.WEBHOOK_SECRETS)):
        text = text.replace(secret, "***") if secret else text
    return "".join(filter(str.isprintable, text))[:500]


class _DeadlineReader(io.RawIOBase):
    """Reads a socket until its timeout has passed in all: by itself the timeout begins again with every read."""

    def __init__(self, sock: socket.socket, raw: io.RawIOBase) -> None:
        self._sock, self._raw = sock, raw
        self._ends_at = time.monotonic() + (sock.gettimeout() or 0)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int | None:
        left = self._ends_at - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self._sock.settimeout(left)
        return self._raw.readinto(buffer)

    def close(self) -> None:
        self._raw.close()
        super().close()


class _Response(http.client.HTTPResponse):
    def __init__(self, sock: socket.socket, *args: Any, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        self.fp = io.BufferedReader(_DeadlineReader(sock, self.fp.detach()))


class _Connection(HTTPConnection):
    response_class = _Response


class _SecureConnection(HTTPSConnection):
    response_class = _Response


class _Adapter(HTTPAdapter):
    def get_connection_with_tls_context(self, *args: Any, **kwargs: Any) -> Any:
        pool: Any = super().get_connection_with_tls_context(*args, **kwargs)
        pool.ConnectionCls = _SecureConnection if pool.scheme == "https" else _Connection
        return pool


class _Session(requests.Session):
    def get_redirect_target(self, resp: requests.Response) -> None:
        """Follow no redirect; where requests follows none it still reads the whole body of one."""


_session = _Session()
_session.mount("https://", _Adapter())
_session.mount("http://", _Adapter())


def _send(method: str, path: str, deadline: float, **sent: Any) -> dict[str, Any]:
    # The time to connect counts for each address of the host, and for TLS apart; reading gets what is left of it all.
    left = deadline - time.monotonic()
    if left <= 0:
        raise _failure(requests.Timeout())
    try:
        with _session.request(
            method,
            settings.MAX_API_URL.rstrip("/") + path,
            auth=_authorize,
            headers={"Accept-Encoding": "identity"},
            timeout=urllib3.Timeout(connect=left / 2, total=left),  # type: ignore[arg-type] # not in the stubs
            verify=settings.MAX_API_CA_BUNDLE or True,
            stream=True,
            **sent,
        ) as response:
            body = response.raw.read(LARGEST_ANSWER_MIB * 2**20 + 1)
    except (OSError, urllib3.exceptions.HTTPError, ValueError) as error:
        # Without its cause, whose text may quote the token or the password of MAX_API_URL.
        raise _failure(error) from None
    return _object_in(response, body)


def _authorize(request: requests.PreparedRequest) -> requests.PreparedRequest:
    # As a header of the request, ~/.netrc would overwrite it.
    request.headers["Authorization"] = settings.MAX_BOT_TOKEN
    return request


def _failure(error: Exception) -> MaxError:
    if isinstance(error, requests.Timeout | urllib3.exceptions.TimeoutError):
        return MaxError(_("MAX at %(host)s did not answer in time"), is_timeout=True, host=_host())
    if any(isinstance(cause, urllib3.exceptions.ProtocolError) for cause in (error, *error.args)):
        return MaxError(_("the connection to MAX at %(host)s was lost"), retry_after=0, host=_host())
    if isinstance(error, requests.exceptions.SSLError):
        msgid = _("TLS to %(host)s failed: set MAX_API_CA_BUNDLE to a file with the root of its certificate")
        return MaxError(msgid, host=_host())
    if isinstance(error, requests.ConnectionError):
        return MaxError(_("MAX at %(host)s cannot be reached"), host=_host())
    msgid = _("MAX cannot be called (%(error)s): check MAX_API_URL, MAX_BOT_TOKEN and MAX_API_CA_BUNDLE")
    return MaxError(msgid, is_refused=True, error=type(error).__name__)


def _host() -> str:
    """Return the host and port of an address that was just called, without a password that may stand before it."""
    return urlsplit(settings.MAX_API_URL).netloc.rpartition("@")[2]


def _object_in(response: requests.Response, body: bytes) -> dict[str, Any]:
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        answer = None
    message = answer.get("message") if isinstance(answer, dict) else None
    because = f": {printable(message)}" if isinstance(message, str) and message else ""
    if response.status_code != codes.ok:
        raise _refusal(response, because)
    if len(body) > LARGEST_ANSWER_MIB * 2**20:
        raise UnexpectedAnswer(_("the answer of MAX is larger than %(limit)s MiB"), limit=LARGEST_ANSWER_MIB)
    if not isinstance(answer, dict):
        raise UnexpectedAnswer(_("the answer of MAX is not a JSON object"))
    if answer.get("success") is False:
        raise MaxError(_("MAX refused the request%(because)s"), is_refused=True, because=because)
    return answer


def _refusal(response: requests.Response, because: str) -> MaxError:
    status, header = response.status_code, response.headers.get("Retry-After", "")
    if status == codes.not_found:
        path = printable(urlsplit(response.url).path)
        msgid = _("the path %(path)s does not exist at %(host)s: status 404%(because)s")
        return MaxError(msgid, is_refused=True, path=path, host=_host(), because=because)
    pause = _PAUSES.get(status)
    if pause is not None and header.isascii() and header.isdigit():
        pause = min(float(header), _LONGEST_PAUSE)
    is_refused = status < codes.internal_server_error and pause is None
    msgid = _("MAX answered with status %(status)s%(because)s")
    return MaxError(msgid, is_refused=is_refused, retry_after=pause, status=status, because=because)
