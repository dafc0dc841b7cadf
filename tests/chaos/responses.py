"""Judge every answer of a system under faults by its status and by the time that the contract allows it."""

import threading
import time
from collections import Counter, defaultdict
from collections.abc import Collection
from dataclasses import dataclass

# In seconds. /health and /ready, and API requests: contract §9 (docs/reference/http-api.md). An update is refused when
# PostgreSQL has not committed it within the receiver's deadline.
BOUNDS = {"health": 1.0, "ready": 1.0, "api": 10.0, "webhook": 3.0}
_TICK, _LATE = 0.02, 0.05
_REFUSED = (401, 503)
_MOST_EXAMPLES = 5


@dataclass(frozen=True)
class Answer:
    """``status`` is the name of the error where there was no answer."""

    status: int | str
    body: bytes
    has_retry_after: bool
    seconds: float


class Answers:
    """Counts of all answers, and the ones that break a promise, by kind."""

    def __init__(self) -> None:
        self.counts: dict[str, Counter[int | str]] = defaultdict(Counter)
        self.unexpected: list[str] = []
        self.late: list[str] = []
        self.longest: dict[str, float] = defaultdict(float)
        # When the web server's processes were stopped, which nobody can answer then; in monotonic seconds.
        self.frozen: list[tuple[float, float]] = []
        self._lags: list[tuple[float, float]] = []
        self._lock, self._is_over = threading.Lock(), threading.Event()
        self._thread = threading.Thread(target=self._measure_lags, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._is_over.set()
        self._thread.join()

    def forget(self) -> None:
        """Forget the answers until now, of processes that were still loading."""
        self.counts.clear()
        self.longest.clear()
        self.unexpected.clear()
        self.late.clear()

    def note(self, kind: str, what: str, answer: Answer, expected: Collection[int]) -> None:
        """Count an answer that has just arrived. No answer at all is right only while its process may have died."""
        ended = time.monotonic()
        began = ended - answer.seconds
        took = answer.seconds - self._excused(began, ended)
        is_wrong = isinstance(answer.status, int) and answer.status not in {*expected, *_REFUSED}
        is_unclear = not what.startswith("GET") and b'"MAYBE_STORED"' in answer.body
        lacks_retry_after = answer.status == 503 and not answer.has_retry_after and not is_unclear
        with self._lock:
            self.counts[kind][answer.status] += 1
            self.longest[kind] = max(self.longest[kind], took)
            if is_wrong or lacks_retry_after:
                self.unexpected.append(f"{what}: {answer.status} {answer.body[:200].decode(errors='replace')}")
            if took > BOUNDS[kind]:
                self.late.append(f"{what}: {answer.status} after {took:.2f} s")

    def _excused(self, began: float, ended: float) -> float:
        """Return for how long of a request this process did not run either, or the web server was stopped."""
        stalled = sum(lag for at, lag in self._lags[-500:] if began < at <= ended)
        return stalled + sum(max(0.0, min(ended, until) - max(began, since)) for since, until in self.frozen)

    def _measure_lags(self) -> None:
        while not self._is_over.is_set():
            due = time.monotonic() + _TICK
            time.sleep(_TICK)
            if (lag := time.monotonic() - due) > _LATE:
                self._lags.append((time.monotonic(), lag))


def examples(texts: Collection[str]) -> str:
    """Return the first of the texts, one a line."""
    return "\n".join(list(texts)[:_MOST_EXAMPLES])
