"""An event loop in a thread of its own, as in a web process, for tests that run in threads."""

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine
from functools import cache
from typing import Any, TypeVar

T = TypeVar("T")


@cache
def _loop() -> asyncio.AbstractEventLoop:
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name="test-loop", daemon=True).start()
    return loop


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    return asyncio.run_coroutine_threadsafe(coroutine, _loop()).result()


async def until(is_true: Callable[[], object], limit: float = 60.0) -> None:
    """Wait in a loop until the condition is true; fail after ``limit`` seconds."""
    ends_at = time.monotonic() + limit
    while not is_true():
        assert time.monotonic() < ends_at
        await asyncio.sleep(0.01)
