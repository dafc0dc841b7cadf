"""A working clock leaves out the time during which the process stood still, and nothing else."""

from ctypes import PyDLL

from tests.waiting import WorkingClock, seconds_until


def test_it_works() -> None:
    with WorkingClock() as clock:
        started = clock.now()
        # Such a call keeps the interpreter's lock: no thread of this process runs meanwhile.
        PyDLL(None).usleep(1_000_000)
        assert 0 <= clock.now() - started < 0.5
        started = clock.now()
        assert seconds_until(lambda: clock.now() - started > 0.5) > 0.5
