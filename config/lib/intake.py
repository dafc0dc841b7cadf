"""Take in request bodies in the event loop, so that a slow sender occupies no thread.

A body has to arrive within BODY_SECONDS, with at most PAUSE_SECONDS between two reads. The bodies that a process holds
are limited in total too: 1,000 senders of large files must not use up the memory.
"""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from config.lib.fixed_responses import CLOSE, RETRY_AFTER, Answer, refusal

if TYPE_CHECKING:
    from granian.rsgi import Headers, HTTPProtocol

BODY_SECONDS = 30.0
PAUSE_SECONDS = 10.0
# What is read of a body that is refused: a client that is still sending would see a reset connection, not the answer.
LARGEST_DISCARDED = 32 * 1024**2
DISCARD_PAUSE_SECONDS = 0.3

TOO_SLOW = refusal(HTTPStatus.REQUEST_TIMEOUT, "The request body did not arrive in time.", CLOSE)
CUT_OFF = refusal(HTTPStatus.BAD_REQUEST, "The request body is incomplete.", CLOSE)
NO_MEMORY = refusal(
    HTTPStatus.SERVICE_UNAVAILABLE, "The server is receiving too many large bodies.", CLOSE, RETRY_AFTER
)


class NotRead(Exception):
    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.status)
        self.answer = answer


class Intake:
    """Take in bodies of together at most ``largest_total`` bytes; ``held`` are those not yet released."""

    def __init__(self, largest_total: int) -> None:
        self.held, self.largest_total = 0, largest_total

    async def read(self, protocol: HTTPProtocol, headers: Headers, limit: int) -> bytes:
        """Return the body of at most ``limit`` bytes, which the caller has to release; otherwise raise NotRead."""
        announced = headers.get("content-length")
        if announced == "0" or (announced is None and "transfer-encoding" not in headers):
            return b""
        body = _Body(self, protocol, None if announced is None else int(announced), limit)
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
            body.timer.cancel()
        if body.refusal:
            body.drop()
            raise NotRead(body.refusal)
        return body.chunks[0] if len(body.chunks) == 1 else b"".join(body.chunks)

    def release(self, size: int) -> None:
        self.held -= size


class _Body:
    """A body that is being received; ``length`` is its Content-Length, or None if it is chunked.

    ``asyncio.timeout`` would cost a tenth of a webhook request.
    """

    def __init__(self, intake: Intake, protocol: HTTPProtocol, length: int | None, limit: int) -> None:
        self.chunks: list[bytes] = []
        self.refusal = too_large(limit) if (length or 0) > limit else None
        self._intake, self._protocol, self._length, self._limit = intake, protocol, length, limit
        self._loop = asyncio.get_running_loop()
        self.task: asyncio.Task[Any] = asyncio.current_task()  # type: ignore[assignment]
        self.is_overdue = False
        self._ends_at = self._loop.time() + BODY_SECONDS
        self.timer = self._loop.call_later(DISCARD_PAUSE_SECONDS if self.refusal else PAUSE_SECONDS, self._end)

    async def receive(self) -> None:
        """Receive the body, and discard it from the moment that it is refused, which ``refusal`` then explains."""
        received, is_at_end = 0, False
        async for chunk in self._protocol:
            received += len(chunk)
            if not chunk and is_at_end:
                # granian ends a body that is cut off with one more empty chunk than a complete one.
                self.refusal = self.refusal or CUT_OFF
            is_at_end = not chunk
            if not self.refusal:
                self._keep(chunk, received)
            if received == self._length or received > LARGEST_DISCARDED:
                return
            self.timer.cancel()
            wait = DISCARD_PAUSE_SECONDS if self.refusal else PAUSE_SECONDS
            self.timer = self._loop.call_at(min(self._loop.time() + wait, self._ends_at), self._end)
        if self._length is not None:
            self.refusal = self.refusal or CUT_OFF

    def _end(self) -> None:
        self.is_overdue = True
        self.task.cancel()

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
