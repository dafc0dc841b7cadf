import pytest

from profiles.breaker import Breaker, BreakerOpen


def fail(breaker: Breaker) -> None:
    with pytest.raises(OSError, match="down"), breaker.guard(OSError):
        raise OSError("down")


def test_it_opens_after_five_failures_in_a_row() -> None:
    breaker = Breaker("test", reset=60)
    for _ in range(4):
        fail(breaker)
    with breaker.guard(OSError):
        pass
    for _ in range(5):
        assert breaker.state == "closed"
        fail(breaker)
    assert breaker.state == "open"
    with pytest.raises(BreakerOpen), breaker.guard(OSError):
        pytest.fail("an open breaker lets nothing through")


def test_one_probe_at_a_time_and_its_success_closes() -> None:
    breaker = Breaker("test", failures=1, reset=0.01)
    fail(breaker)
    while breaker.state == "open":
        pass
    breaker._reset = 60
    with breaker.guard(OSError), pytest.raises(BreakerOpen), breaker.guard(OSError):
        pytest.fail("a second probe")
    assert breaker.state == "closed"


def test_a_failed_probe_opens_again() -> None:
    breaker = Breaker("test", failures=2, reset=0.01)
    fail(breaker)
    fail(breaker)
    while breaker.state == "open":
        pass
    breaker._reset = 60
    fail(breaker)
    assert breaker.state == "open"


def test_other_errors_are_no_failures() -> None:
    breaker = Breaker("test", failures=1)
    with pytest.raises(KeyError), breaker.guard(OSError):
        raise KeyError
    assert breaker.state == "closed"
