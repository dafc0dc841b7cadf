"""Read request bodies in the event loop, so that a slow client occupies no thread.

A body has to arrive within BODY_SECONDS, with at most PAUSE_SECONDS between two reads. The total size of the bodies in
a process is limited too: 1,000 clients that send large files must not use up the memory.
"""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from config.rsgi.fixed_responses import CLOSE, RETRY_AFTER, Answer, refusal

if TYPE_CHECKING:
    from granian.rsgi import Headers, HTTPProtocol

BODY_SECONDS = 30.0
PAUSE_SECONDS = 10.0
# How much of a refused body is read: otherwise, a client that is still sending would get a reset, not the answer.
LARGEST_DISCARDED = 32 * 1024**2
DISCARD_PAUSE_SECONDS = 0.3
# How often the deadlines are checked. A timer for each read would cost a tenth of a webhook request.
_CHECK_SECONDS = 0.1
# Each read costs the event loop as much as a small request: a body of single bytes must not keep it busy.
_FREE_READS, _BYTES_PER_READ = 1000, 64

TOO_SLOW = refusal(HTTPStatus.REQUEST_TIMEOUT, "The request body did not arrive in time.", CLOSE)
CUT_OFF = refusal(HTTPStatus.BAD_REQUEST, "The request body is incomplete.", CLOSE)
TOO_MANY_READS = refusal(HTTPStatus.BAD_REQUEST, "The request body arrives in too many small parts.", CLOSE)
NO_MEMORY = refusal(
    HTTPStatus.SERVICE_UNAVAILABLE, "The server is receiving too many large bodies.", CLOSE, RETRY_AFTER
)


class NotRead(Exception):
    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.status)
        self.answer = answer


class Intake:
    """Read request bodies whose total size is at most ``largest_total`` bytes.

    ``held`` is the number of bytes read and not yet released.
    """

    def __init__(self, largest_total: int) -> None:
        self.held, self.largest_total = 0, largest_total
        self._bodies: set[_Body] = set()
        self._watching: asyncio.AbstractEventLoop | None = None

    async def read(
        self,
        protocol: HTTPProtocol,
        headers: Headers,
        limit: int,
        loop: asyncio.AbstractEventLoop,
        refusal: Answer | None = None,
    ) -> bytes:
        """Return the body, of at most ``limit`` bytes; the caller has to pass its length to release() afterwards.

        Raise NotRead, with the answer to send, if the body is not accepted. If a ``refusal`` is given, discard
        the body and raise NotRead with that refusal.
        """
        announced = headers.get("content-length")
        if announced == "0" or (announced is None and "transfer-encoding" not in headers):
            if refusal:
                raise NotRead(refusal)
            return b""
        body = _Body(self, protocol, None if announced is None else int(announced), limit, loop, refusal)
        self._watch(body)
        try:
            await body.receive()
        except asyncio.CancelledError:
            if not body.is_overdue:
                body.drop()
                raise
            body.task.uncancel()
            body.refusal = body.refusal or TOO_SLOW
        except BaseException:
            body.drop()
            raise
        finally:
            self._bodies.remove(body)
        if body.refusal:
            body.drop()
            raise NotRead(body.refusal)
        return body.chunks[0] if len(body.chunks) == 1 else b"".join(body.chunks)

    def release(self, size: int) -> None:
        self.held -= size

    def _watch(self, body: _Body) -> None:
        self._bodies.add(body)
        if self._watching is not body.loop:
            self._watching = body.loop
            body.loop.call_later(_CHECK_SECONDS, self._end_overdue, body.loop)

    def _end_overdue(self, loop: asyncio.AbstractEventLoop) -> None:
        """Stop receiving bodies whose deadline has passed; schedule the next check while bodies are being received."""
        now = loop.time()
        for body in self._bodies:
            if now >= body.ends_at and not body.is_overdue:
                body.is_overdue = True
                body.task.cancel()
        self._watching = loop if self._bodies else None
        if self._bodies:
            loop.call_later(_CHECK_SECONDS, self._end_overdue, loop)


class _Body:
    """A body that is being received; ``length`` is its Content-Length, or None if it is chunked."""

    def __init__(
        self,
        intake: Intake,
        protocol: HTTPProtocol,
        length: int | None,
        limit: int,
        loop: asyncio.AbstractEventLoop,
        refusal: Answer | None,
    ) -> None:
        self.chunks: list[bytes] = []
        self.refusal = refusal or (too_large(limit) if (length or 0) > limit else None)
        self._intake, self._protocol, self._length, self._limit = intake, protocol, length, limit
        self.loop = loop
        self.task: asyncio.Task[Any] = asyncio.current_task(loop)  # type: ignore[assignment]
        self.is_overdue = False
        self._began_at = loop.time()
        self.ends_at = self._deadline(self._began_at)

    async def receive(self) -> None:
        """Receive the body.

        If it must be refused, set ``refusal`` to the answer and discard the rest of the body.
        """
        reads, received, is_at_end = 0, 0, False
        async for chunk in self._protocol:
            reads += 1
            received += len(chunk)
            if not chunk and is_at_end:
                # granian ends a body that is cut off with one more empty chunk than a complete one.
                self.refusal = self.refusal or CUT_OFF
            is_at_end = not chunk
            if not self.refusal:
                self._keep(chunk, received)
            if received == self._length or received > LARGEST_DISCARDED:
                return
            if reads > _FREE_READS + received // _BYTES_PER_READ:
                self.refusal = TOO_MANY_READS
                return
            self.ends_at = self._deadline(self.loop.time())
        if self._length is not None:
            self.refusal = self.refusal or CUT_OFF

    def _deadline(self, read_at: float) -> float:
        pause = DISCARD_PAUSE_SECONDS if self.refusal else PAUSE_SECONDS
        return min(read_at + pause, self._began_at + BODY_SECONDS)

    def _keep(self, chunk: bytes, received: int) -> None:
        self.chunks.append(chunk)
        self._intake.held += len(chunk)
        if received > self._limit:
            self.refusal = too_large(self._limit)
        elif self._intake.held > self._intake.largest_total:
            self.refusal = NO_MEMORY
        if self.refusal:
            self.drop()

    def drop(self) -> None:
        self._intake.release(sum(map(len, self.chunks)))
        self.chunks.clear()


def too_large(limit: int) -> Answer:
    return refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"The body is larger than {limit} bytes.", CLOSE)
