"""Take in request bodies in the event loop, so that a slow sender occupies no thread.

A body has to arrive within BODY_SECONDS, with at most PAUSE_SECONDS between two reads. The bodies that a process holds
are limited in total too: 1,000 senders of large files must not use up the memory.
"""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import TYPE_CHECKING

from config.lib.answers import CLOSE, RETRY_AFTER, Answer, refusal

if TYPE_CHECKING:
    from granian.rsgi import Headers, HTTPProtocol

BODY_SECONDS = 30.0
PAUSE_SECONDS = 10.0
LARGEST_TOTAL = 128 * 1024**2

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
    """``held`` is the number of bytes that were taken in and not yet released."""

    def __init__(self) -> None:
        self.held = 0

    async def read(self, protocol: HTTPProtocol, headers: Headers, limit: int) -> bytes:
        """Return the body of at most ``limit`` bytes, which the caller has to release; otherwise raise NotRead."""
        announced = headers.get("content-length")
        if announced is None and "transfer-encoding" not in headers:
            return b""
        length = None if announced is None else int(announced)
        if length is not None and length > limit:
            raise NotRead(too_large(limit))
        if length == 0:
            return b""
        chunks: list[bytes] = []
        try:
            await self._receive(protocol, chunks, length, limit)
        except BaseException:
            self.release(sum(map(len, chunks)))
            raise
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    async def _receive(self, protocol: HTTPProtocol, chunks: list[bytes], length: int | None, limit: int) -> None:
        now = asyncio.get_running_loop().time
        ends_at, received, is_at_end = now() + BODY_SECONDS, 0, False
        try:
            async with asyncio.timeout(PAUSE_SECONDS) as pause:
                async for chunk in protocol:
                    if not chunk and is_at_end:
                        # granian ends a body that is cut off with one more empty chunk than a complete one.
                        raise NotRead(CUT_OFF)
                    is_at_end = not chunk
                    received += len(chunk)
                    self.held += len(chunk)
                    chunks.append(chunk)
                    if received > limit:
                        raise NotRead(too_large(limit))
                    if self.held > LARGEST_TOTAL:
                        raise NotRead(NO_MEMORY)
                    if received == length:
                        return
                    pause.reschedule(min(now() + PAUSE_SECONDS, ends_at))
        except TimeoutError:
            raise NotRead(TOO_SLOW) from None
        if length is not None:
            raise NotRead(CUT_OFF)

    def release(self, size: int) -> None:
        self.held -= size


def too_large(limit: int) -> Answer:
    return refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"The body is larger than {limit} bytes.", CLOSE)


intake = Intake()
