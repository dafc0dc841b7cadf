"""The WSGI application of the web server; importing it starts the heartbeat of the process.

The server's threads receive requests, and 64 other threads run Django: a client that stops in the middle of a body
occupies a receiving thread, but no connection to PostgreSQL.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from tempfile import SpooledTemporaryFile
from typing import IO, TYPE_CHECKING

from config import wsgi

# config.wsgi has set up Django, which the next imports need.
# isort: split
from config.lib import error_pages, request_id
from config.lib.error_pages import LARGEST_BODY
from profiles.rollout.heartbeat import heartbeat_thread
from webhooks import receiver

if TYPE_CHECKING:
    from collections.abc import Iterable

    from _typeshed.wsgi import StartResponse, WSGIEnvironment

_TOO_LARGE = receiver.refusal("413 Content Too Large", f"The request body exceeds {LARGEST_BODY} bytes.")
# Django would accept a truncated form, and with it a number without its last digits.
_CUT_OFF = receiver.refusal("400 Bad Request", "The request body is shorter than its Content-Length.")

# As many threads as config.dev.launch reserves PostgreSQL connections for (_WEB_THREADS).
_django = ThreadPoolExecutor(64, "django")

heartbeat_thread.start("web")


def application(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    if environ["PATH_INFO"] in receiver.PATHS:
        return wsgi.application(environ, start_response)
    has_body = "HTTP_TRANSFER_ENCODING" in environ or environ.get("CONTENT_LENGTH", "0") != "0"
    with SpooledTemporaryFile(max_size=1024**2) as body:
        if has_body and (refusal := _receive(environ, body)):
            request_id.begin_request(environ, start_response)(refusal.status, refusal.headers)
            return refusal.body
        return _django.submit(wsgi.application, environ, start_response).result()


def _receive(environ: WSGIEnvironment, body: IO[bytes]) -> receiver.Answer | None:
    """Make the request body the request's input; return an error response if it is too large or cut off, else None."""
    announced, length = int(environ.get("CONTENT_LENGTH") or 0), 0
    while announced <= LARGEST_BODY and (chunk := environ["wsgi.input"].read(64 * 1024)):
        length += body.write(chunk)
        if length > LARGEST_BODY:
            break
    if max(announced, length) > LARGEST_BODY:
        if not error_pages.is_for_people(environ["PATH_INFO"]):
            return _TOO_LARGE
        page = error_pages.too_large(environ)
        return receiver.Answer(_TOO_LARGE.status, page, content_type="text/html; charset=utf-8")
    if length < announced:
        return _CUT_OFF
    body.seek(0)
    environ["wsgi.input"], environ["CONTENT_LENGTH"] = body, str(length)
    return None
