"""The HTTP client for MAX; the direct API, subscriptions and long polling send all their requests with ``call``."""

import json
import time
from collections.abc import Callable, Iterator
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

from config.lib import outgoing
from config.lib.messages import Message
from config.lib.text import clean
from config.postgres.base import seconds_left

T = TypeVar("T")

ATTEMPTS = 3
LARGEST_RESPONSE_MIB = 8
_SHORTEST_PAUSE = 0.1
_LONGEST_PAUSE = 3600.0
# Seconds before the next attempt, unless MAX sends Retry-After, a header that it does not document.
_PAUSES = {codes.too_many_requests: 1.0, codes.bad_gateway: 0.0, codes.unavailable: 0.0, codes.gateway_timeout: 0.0}


class MaxError(Exception):
    """Raised when a request to MAX fails or is refused; it never means that no user has the phone.

    ``str()`` is one line of English for logs and terminals, and ``message`` is the same text for translation; neither
    contains a secret. ``is_refused`` means that MAX would refuse the same request again. ``retry_after`` is the number
    of seconds until a retry is allowed, or None if no retry is allowed. Only ``is_throttled`` guarantees that MAX has
    not processed the request.
    """

    def __init__(
        self,
        msgid: str,
        is_refused: bool = False,
        is_timeout: bool = False,
        is_throttled: bool = False,
        retry_after: float | None = None,
        **params: Any,
    ) -> None:
        super().__init__(msgid)
        self.message = Message(msgid, params)
        self.is_refused, self.is_timeout = is_refused, is_timeout
        self.is_throttled, self.retry_after = is_throttled, retry_after

    def __str__(self) -> str:
        with translation.override("en"):
            return str(self.message)


class UnexpectedAnswer(MaxError):
    """Raised when MAX sends a response that does not match its documentation."""


class NoSuchPath(MaxError):
    """Raised when MAX answers that a path does not exist."""


def new_deadline(extra: timedelta = timedelta()) -> float:
    """Return the deadline of a call that starts now, in monotonic seconds: MAX_API_TIMEOUT plus ``extra`` from now.

    If the current block has an earlier deadline (``statement_deadline``), return that one.
    """
    seconds, left = (settings.MAX_API_TIMEOUT + extra).total_seconds(), seconds_left()
    return time.monotonic() + (seconds if left is None else min(seconds, left))


def call(
    method: str,
    path: str,
    parse: Callable[[dict[str, Any]], T],
    *,
    deadline: float,
    is_safe: bool = False,
    around_attempt: Callable[[float], AbstractContextManager[Any]] = nullcontext,
    **options: Any,
) -> T:
    """Send a request and return the result of ``parse`` for the JSON object in the response.

    Raise MaxError if that fails, no later than ``deadline``. A throttled request is retried when MAX allows it. After a
    lost connection or a gateway error, a request is retried only if ``is_safe``, which means that it may arrive twice.
    ``around_attempt`` returns a context manager in which each attempt runs; ``options`` are passed to requests.
    """
    if not settings.MAX_BOT_TOKEN:
        raise MaxError(_("cannot call MAX: MAX_BOT_TOKEN is not set"), is_refused=True)

    def pause(error: Exception) -> bool | float:
        if not isinstance(error, MaxError) or error.retry_after is None or not (error.is_throttled or is_safe):
            return False
        seconds = max(error.retry_after, _SHORTEST_PAUSE)
        return seconds if seconds < deadline - time.monotonic() else False

    for attempt in stamina.retry_context(on=pause, attempts=ATTEMPTS, timeout=None):
        with attempt, around_attempt(deadline):
            answer = _send(method, path, deadline, **options)
            try:
                return parse(answer)
            except (LookupError, TypeError, AttributeError, ValueError) as error:
                raise UnexpectedAnswer(_("the response from MAX does not have the documented format")) from error
    raise AssertionError("stamina returns or raises")


def printable(text: str) -> str:
    """Return a text from MAX, cleaned and cut to 500 characters, with secrets masked."""
    for secret in (settings.MAX_BOT_TOKEN, *(secret.decode() for secret in settings.WEBHOOK_SECRETS)):
        text = text.replace(secret, "***") if secret else text
    return clean(text)[:500]


_session = outgoing.Session()


def _send(method: str, path: str, deadline: float, **options: Any) -> dict[str, Any]:
    left = deadline - time.monotonic()
    if left <= 0:
        raise _failure(requests.Timeout())
    try:
        with _session.request(
            method,
            settings.MAX_API_URL.rstrip("/") + path,
            auth=_authorize,
            headers={"Accept-Encoding": "identity"},
            timeout=outgoing.within(left),
            verify=settings.MAX_API_CA_BUNDLE or True,
            stream=True,
            **options,
        ) as response:
            body = response.raw.read(LARGEST_RESPONSE_MIB * 2**20 + 1)
    except (OSError, urllib3.exceptions.HTTPError, ValueError) as error:
        # The cause is omitted, because it may quote the token or the password in MAX_API_URL.
        raise _failure(error) from None
    return _object_in(response, body)


def _authorize(request: requests.PreparedRequest) -> requests.PreparedRequest:
    # Without an auth callable, requests would replace the header with credentials from ~/.netrc.
    request.headers["Authorization"] = settings.MAX_BOT_TOKEN
    return request


def _failure(error: Exception) -> MaxError:
    causes = tuple(_causes(error))
    if any(isinstance(cause, TimeoutError | requests.Timeout | urllib3.exceptions.TimeoutError) for cause in causes):
        return MaxError(_("MAX at %(host)s did not answer in time"), is_timeout=True, host=_host())
    if any(isinstance(cause, urllib3.exceptions.ProtocolError) for cause in causes):
        return MaxError(_("the connection to MAX at %(host)s was lost"), retry_after=0, host=_host())
    if isinstance(error, requests.exceptions.SSLError):
        msgid = _("TLS to %(host)s failed: set MAX_API_CA_BUNDLE to a file with this server's root certificate")
        return MaxError(msgid, host=_host())
    if isinstance(error, requests.ConnectionError):
        return MaxError(_("MAX at %(host)s cannot be reached"), host=_host())
    msgid = _("cannot call MAX (%(error)s): check MAX_API_URL, MAX_BOT_TOKEN and MAX_API_CA_BUNDLE")
    return MaxError(msgid, is_refused=True, error=type(error).__name__)


def _causes(error: Exception) -> Iterator[Exception]:
    """Yield the error and all errors nested in its arguments: a timeout during sending is nested two levels deep."""
    yield error
    for inner in error.args:
        if isinstance(inner, Exception):
            yield from _causes(inner)


def _host() -> str:
    """Return the host and port of MAX_API_URL, without credentials."""
    return urlsplit(settings.MAX_API_URL).netloc.rpartition("@")[2]


def _object_in(response: requests.Response, body: bytes) -> dict[str, Any]:
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        answer = None
    message = answer.get("message") if isinstance(answer, dict) else None
    detail = f": {printable(message)}" if isinstance(message, str) and message else ""
    if response.status_code != codes.ok:
        raise _refusal(response, detail)
    if len(body) > LARGEST_RESPONSE_MIB * 2**20:
        raise UnexpectedAnswer(_("the response from MAX is larger than %(limit)s MiB"), limit=LARGEST_RESPONSE_MIB)
    if not isinstance(answer, dict):
        raise UnexpectedAnswer(_("the response from MAX is not a JSON object"))
    if answer.get("success") is False:
        raise MaxError(_("MAX refused the request%(detail)s"), is_refused=True, detail=detail)
    return answer


def _refusal(response: requests.Response, detail: str) -> MaxError:
    status, header = response.status_code, response.headers.get("Retry-After", "")
    if status == codes.not_found:
        path = printable(urlsplit(response.url).path)
        msgid = _("the path %(path)s does not exist at %(host)s: status 404%(detail)s")
        return NoSuchPath(msgid, is_refused=True, path=path, host=_host(), detail=detail)
    pause = _PAUSES.get(status)
    if pause is not None and header.isascii() and header.isdigit():
        pause = min(float(header), _LONGEST_PAUSE)
    is_refused = status < codes.internal_server_error and pause is None
    msgid = _("MAX answered with status %(status)s%(detail)s")
    return MaxError(
        msgid,
        is_refused=is_refused,
        is_throttled=status == codes.too_many_requests,
        retry_after=pause,
        status=status,
        detail=detail,
    )
