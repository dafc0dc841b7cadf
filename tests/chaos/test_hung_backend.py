"""The server's processes behind all connections of the inbox hang, as behind a pooler that hangs."""

import os
import time
from collections.abc import Iterator
from contextlib import suppress
from signal import SIGCONT, SIGSTOP

import pytest

from tests.chaos.system import System
from tests.chaos.test_worker_faults import health, query
from tests.chaos.updates import random_bodies
from tests.chaos.webhook_load import post
from tests.waiting import seconds_until

pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("slow"), pytest.mark.timeout(240), pytest.mark.alone]
_PROCESSED = "SELECT count(*) FROM webhook_inbox WHERE state = 'done'"
_PIDS = "SELECT array_agg(pid) FROM pg_stat_activity WHERE application_name = 'directory-inbox'"


@pytest.fixture
def hung(worked: System) -> Iterator[list[int]]:
    assert post(worked, random_bodies(1)[0]).answer == 200
    seconds_until(lambda: query(worked, _PROCESSED) == 1, 20)
    time.sleep(1)
    pids = query(worked, _PIDS)
    for pid in pids:
        os.kill(pid, SIGSTOP)
    yield pids
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, SIGCONT)


def test_updates_are_processed_in_other_sessions(worked: System, hung: list[int]) -> None:
    assert len(hung) >= 2
    assert post(worked, random_bodies(1)[0]).answer == 200
    seconds_until(lambda: query(worked, _PROCESSED) == 2, 25)
    inbox = next(line for line in health(worked).splitlines() if line.startswith("inbox "))
    assert inbox.split()[1] == "ok"
