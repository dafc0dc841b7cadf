"""What the web server loads: the WSGI application, in a process that reports which revision of the rollout it follows.

The server's threads take requests in, sixty-four others do Django's work: a sender that stops in the middle of a body
holds a thread that has nothing else to do, and no connection to PostgreSQL.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from tempfile import SpooledTemporaryFile
from typing import IO, TYPE_CHECKING

from config import wsgi

# That has set Django up, which the next ones need.
# isort: split
from config.lib import error_pages
from config.lib.error_pages import LARGEST_BODY
from profiles.rollout.heartbeat import heartbeat_thread
from webhooks import receiver

if TYPE_CHECKING:
    from collections.abc import Iterable

    from _typeshed.wsgi import StartResponse, WSGIEnvironment

_TOO_LARGE = receiver.refusal("413 Content Too Large", f"the body is larger than {LARGEST_BODY} bytes")
# Django would take what came for the whole: half of a form is a form, with a number that lacks its last digits.
_CUT_OFF = receiver.refusal("400 Bad Request", "the body is shorter than announced")
_CHUNK = 64 * 1024
_IN_MEMORY = 1024 * 1024

# Their number is that of the connections in config.dev.launch.
_django = ThreadPoolExecutor(64, "django")

heartbeat_thread.start("web")


def application(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    if environ["PATH_INFO"] in receiver.PATHS:
        return wsgi.application(environ, start_response)
    if "HTTP_TRANSFER_ENCODING" not in environ and environ.get("CONTENT_LENGTH", "0") == "0":
        return _work(environ, start_response)
    with SpooledTemporaryFile(_IN_MEMORY) as body:
        if refusal := _take_in(environ, body):
            start_response(refusal.status, refusal.headers)
            return refusal.body
        return _work(environ, start_response)


def _work(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    return _django.submit(wsgi.application, environ, start_response).result()


def _take_in(environ: WSGIEnvironment, body: IO[bytes]) -> receiver.Answer | None:
    """Read the whole body into a file, which takes its place; return the answer to one that is too large or cut off."""
    announced, length = int(environ.get("CONTENT_LENGTH") or 0), 0
    if announced > LARGEST_BODY:
        return _too_large(environ)
    while chunk := environ["wsgi.input"].read(_CHUNK):
        length += body.write(chunk)
        if length > LARGEST_BODY:
            return _too_large(environ)
    if length < announced:
        return _CUT_OFF
    body.seek(0)
    environ["wsgi.input"], environ["CONTENT_LENGTH"] = body, str(length)
    return None


def _too_large(environ: WSGIEnvironment) -> receiver.Answer:
    if not error_pages.is_for_people(environ["PATH_INFO"]):
        return _TOO_LARGE
    return receiver.Answer(_TOO_LARGE.status, error_pages.too_large(environ), content_type="text/html; charset=utf-8")
