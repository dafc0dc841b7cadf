"""Run Django's WSGI application in threads, for requests whose body the event loop has read.

Each thread keeps a connection to PostgreSQL. The threads are divided into pools. While all requests that create
employees wait for a lock, an operator can therefore still stop the rollout, and monitoring still works.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from http import HTTPStatus
from tempfile import TemporaryFile
from typing import IO, TYPE_CHECKING, Any, NamedTuple
from wsgiref.util import FileWrapper

from django.conf import settings

from config.lib import request_id
from config.lib.http import error_pages
from config.postgres.base import statement_deadline
from config.rsgi.fixed_responses import CLOSE, RETRY_AFTER, Answer, refusal
from config.rsgi.intake import Intake, NotRead
from config.rsgi.wsgi_environ import lost_headers, set_body, unreadable_part, wsgi_environ

if TYPE_CHECKING:
    from collections.abc import Callable
    from wsgiref.types import WSGIApplication, WSGIEnvironment

    from granian.rsgi import HTTPProtocol, Scope

LARGEST_BODY = 1024**2
# The receiver has a limit of its own, so that large bodies for Django cannot make it refuse updates.
intake = Intake(128 * 1024**2)
# Imports at a time. Anybody may send one without logging in, and its body stays in memory until Django has answered.
MOST_IMPORTS = 4
# The server holds an answer in memory until the client has read it, so larger answers are sent from a file.
LARGEST_IN_MEMORY = 64 * 1024
# After this time, the server has certainly opened the file of a response. While there are _MOST_FILES, other responses
# stay in memory.
_OPENED_SECONDS = 5.0
_MOST_FILES = 64
# The largest request bodies are files that are imported in the admin.
LARGEST_IMPORT = error_pages.LARGEST_BODY
# In seconds from the last byte of the body: an API request is answered within ten, with 503 if a lock blocks it.
API_SECONDS = 8.5
ADMIN_SECONDS = 120.0
STATIC = settings.STATIC_URL
BUSY = refusal(HTTPStatus.SERVICE_UNAVAILABLE, "The server is busy. Try again later.", RETRY_AFTER)

# How many requests of a pool begin at a time: more threads that compute would only take time from each other. A request
# that takes longer than _BEGINNING_SECONDS is probably waiting for a lock or another server, so the next one begins. If
# all of them wait, at most 4 / 0.04 = 100 begin per second; with 0.03, four lists would not be finished in time.
_MOST_BEGINNING, _BEGINNING_SECONDS = 4, 0.04

# Status, headers, and the content: bytes, the path of a static file, or an open file.
_Response = tuple[int, list[tuple[str, str]], bytes | str | IO[bytes]]


class _Gone(Exception):
    """Raised when the client has closed the connection while its request was waiting to begin."""


class ThreadPool:
    """A fixed number of threads, with a queue of the requests that wait.

    A request waits until a thread is free for it, and then until fewer than _MOST_BEGINNING others are beginning.
    """

    def __init__(self, name: str, threads: int, seconds: float) -> None:
        self.seconds = seconds
        self._threads = ThreadPoolExecutor(threads, name)
        self._free = asyncio.Semaphore(threads)
        self._beginning = asyncio.Semaphore(_MOST_BEGINNING)
        self._waiting, self._longest_queue = 0, threads * 4

    async def run(self, call: Callable[[float], _Response], protocol: HTTPProtocol) -> _Response:
        """Run ``call`` in a thread and return its result; ``call`` receives the seconds that remain for the request.

        Raise TimeoutError if the queue is full, or if the request cannot begin within the pool's ``seconds``. Raise
        _Gone if the client disconnects while the request waits.
        """
        loop = asyncio.get_running_loop()
        ends_at = loop.time() + self.seconds
        if self._free.locked() and self._waiting >= self._longest_queue:
            raise TimeoutError
        self._waiting += 1
        try:
            await _acquire(self._free, protocol, ends_at - loop.time())
        finally:
            self._waiting -= 1
        try:
            await _acquire(self._beginning, protocol, ends_at - loop.time())
            try:
                running = loop.run_in_executor(self._threads, call, ends_at - loop.time())
                await asyncio.wait([running], timeout=_BEGINNING_SECONDS)
            finally:
                self._beginning.release()
            return await running
        finally:
            self._free.release()

    def close(self) -> None:
        self._threads.shutdown()


async def _acquire(semaphore: asyncio.Semaphore, protocol: HTTPProtocol, seconds: float) -> None:
    """Acquire the semaphore; raise TimeoutError after ``seconds``, or _Gone if the client disconnects meanwhile."""
    if not semaphore.locked():
        await semaphore.acquire()
        return
    acquired = asyncio.ensure_future(semaphore.acquire())
    disconnected = asyncio.ensure_future(protocol.client_disconnect())
    is_acquired, has_left = False, False
    try:
        await asyncio.wait({acquired, disconnected}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        has_left = disconnected.done()
        is_acquired = acquired.done() and not has_left
    finally:
        disconnected.cancel()
        if not is_acquired and not acquired.cancel():
            semaphore.release()
    if not is_acquired:
        raise _Gone if has_left else TimeoutError


class ThreadPools(NamedTuple):
    """The pools of a process: for the API, for the admin, and for monitoring and static files.

    config.dev.launch reserves a database connection for each of their threads (_WEB_CONNECTIONS).
    """

    api: ThreadPool
    admin: ThreadPool
    monitoring: ThreadPool

    def of(self, path: str) -> ThreadPool:
        path = path.removeprefix("/api/v1")
        if path.startswith("/admin"):
            return self.admin
        # A static file needs no store, so it must not wait for requests that hold locks.
        return self.monitoring if path.startswith(("/monitoring", "/metrics", STATIC)) else self.api


class Bridge:
    def __init__(self, application: WSGIApplication) -> None:
        self._application = application
        self._pools = ThreadPools(
            ThreadPool("api", 44, API_SECONDS),
            ThreadPool("admin", 14, ADMIN_SECONDS),
            ThreadPool("monitoring", 6, API_SECONDS),
        )
        self._imports = self._files = 0

    async def respond(self, scope: Scope, protocol: HTTPProtocol) -> None:
        request_id.begin(scope.headers.get("x-request-id", ""))
        is_import = scope.method == "POST" and scope.path.startswith("/admin/") and "/import/" in scope.path
        environ, refused = wsgi_environ(scope), None
        if lost := lost_headers(scope):
            refused = refusal(HTTPStatus.BAD_REQUEST, f"Headers must be ASCII: {', '.join(sorted(lost))}.", CLOSE)
        elif unreadable := unreadable_part(environ):
            refused = refusal(HTTPStatus.BAD_REQUEST, unreadable, CLOSE)
        elif is_import and self._imports >= MOST_IMPORTS:
            refused = BUSY
        if not is_import or refused:
            await self._respond(scope, protocol, environ, LARGEST_BODY, refused)
            return
        self._imports += 1
        try:
            await self._respond(scope, protocol, environ, LARGEST_IMPORT)
        finally:
            self._imports -= 1

    async def _respond(
        self,
        scope: Scope,
        protocol: HTTPProtocol,
        environ: WSGIEnvironment,
        limit: int,
        refused: Answer | None = None,
    ) -> None:
        try:
            body = await intake.read(protocol, scope.headers, limit, asyncio.get_running_loop(), refused)
        except NotRead as unread:
            _too_large(scope, environ, unread.answer).send(protocol)
            return
        set_body(environ, body)
        try:
            call = partial(self._call, environ)
            status, headers, content = await self._pools.of(scope.path).run(call, protocol)
        except TimeoutError:
            BUSY.send(protocol)
        except _Gone:
            protocol.response_empty(499, [])
        else:
            headers.append(("x-request-id", request_id.current.get()))
            if isinstance(content, bytes):
                protocol.response_bytes(status, headers, content)
            elif isinstance(content, str):
                protocol.response_file(status, headers, content)
            else:
                protocol.response_file(status, headers, f"/dev/fd/{content.fileno()}")
                asyncio.get_running_loop().call_later(_OPENED_SECONDS, self._close, content)
        finally:
            intake.release(len(body))

    def close(self) -> None:
        """Wait for the requests in progress, then end the threads, which closes their connections to PostgreSQL."""
        for pool in self._pools:
            pool.close()

    def _call(self, environ: WSGIEnvironment, seconds: float) -> _Response:
        started: list[Any] = []

        def start_response(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
            started[:] = [int(status[:3]), headers]

        request_id.begin(environ["HTTP_X_REQUEST_ID"])
        is_static = environ["PATH_INFO"].startswith(STATIC)
        if is_static:
            environ["wsgi.file_wrapper"] = FileWrapper
        with statement_deadline(seconds):
            response: Any = self._application(environ, start_response)
            try:
                # The server reads a static file itself, as fast as the client takes it.
                if (
                    is_static
                    and isinstance(response, FileWrapper)
                    and isinstance(path := getattr(response.filelike, "name", None), str)
                ):
                    return started[0], started[1], path
                content = b"".join(response)
            finally:
                # An application may return a list, which has no close().
                getattr(response, "close", list)()
        is_large = len(content) > LARGEST_IN_MEMORY and environ["REQUEST_METHOD"] != "HEAD"
        if is_large and self._files < _MOST_FILES:
            # With a full disk, the answer is sent from memory.
            with suppress(OSError):
                file = _file_of(content)
                self._files += 1
                return started[0], started[1], file
        return started[0], started[1], content

    def _close(self, file: IO[bytes]) -> None:
        file.close()
        self._files -= 1


def _file_of(content: bytes) -> IO[bytes]:
    """Return an unnamed temporary file with the content; it disappears even if the process is killed."""
    file = TemporaryFile()  # noqa: SIM115 (closed when the server has opened it)
    file.write(content)
    file.flush()
    return file


def _too_large(scope: Scope, environ: WSGIEnvironment, answer: Answer) -> Answer:
    """For a 413 answer in the admin, return a page in the user's language; return other answers unchanged."""
    if answer.status != HTTPStatus.REQUEST_ENTITY_TOO_LARGE or not error_pages.is_for_people(scope.path):
        return answer
    page = error_pages.too_large(environ)
    return Answer(answer.status, page, CLOSE, content_type="text/html; charset=utf-8")
