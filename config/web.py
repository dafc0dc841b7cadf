"""What the web server loads: the WSGI application, in a process that tells which revision of the rollout it follows.

The server's threads take requests in, sixty-four others do Django's work: a sender that stops in the middle of a body
holds a thread that has nothing else to do, and no connection to PostgreSQL.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from tempfile import SpooledTemporaryFile
from typing import IO, TYPE_CHECKING

from config import wsgi
from profiles.rollout.heartbeat import pulse
from webhooks import receiver

if TYPE_CHECKING:
    from collections.abc import Iterable

    from _typeshed.wsgi import StartResponse, WSGIEnvironment

# Nobody sends more than an administrator who imports a file.
LARGEST_BODY = 16 * 1024 * 1024
_TOO_LARGE = receiver.refusal("413 Content Too Large", f"the body is larger than {LARGEST_BODY} bytes")
_CHUNK = 64 * 1024
_IN_MEMORY = 1024 * 1024

# Their number is that of the connections in config.launch.
_django = ThreadPoolExecutor(64, "django")

pulse.start("web")


def application(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    if environ["PATH_INFO"] in receiver.PATHS:
        return wsgi.application(environ, start_response)
    if "HTTP_TRANSFER_ENCODING" not in environ and environ.get("CONTENT_LENGTH", "0") == "0":
        return _work(environ, start_response)
    with SpooledTemporaryFile(_IN_MEMORY) as body:
        if not _take_in(environ, body):
            start_response(_TOO_LARGE.status, _TOO_LARGE.headers)
            return _TOO_LARGE.body
        return _work(environ, start_response)


def _work(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    return _django.submit(wsgi.application, environ, start_response).result()


def _take_in(environ: WSGIEnvironment, body: IO[bytes]) -> bool:
    """Read the whole body into a file, which takes its place; False when it is too large."""
    if int(environ.get("CONTENT_LENGTH") or 0) > LARGEST_BODY:
        return False
    length = 0
    while chunk := environ["wsgi.input"].read(_CHUNK):
        length += body.write(chunk)
        if length > LARGEST_BODY:
            return False
    body.seek(0)
    environ["wsgi.input"], environ["CONTENT_LENGTH"] = body, str(length)
    return True
