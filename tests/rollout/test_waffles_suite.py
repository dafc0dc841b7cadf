"""waffle's own tests, those of the installed version, all pass against our flag model.

They use flags of their own, no phase. What differs for a phase, and why, is in docs/reference/flags.md and tested in
test_criteria.py and test_waffle.py.
"""

import os
import re
import subprocess
import sys

import pytest
from django.conf import settings

PYTEST = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", ".", "--noconftest"]
PLUGINS = ["-p", "tests.servers", "-p", "tests.waffle_suite.plugin", "-c", "tests/waffle_suite/pytest.ini"]


@pytest.mark.integration
def test_it_passes() -> None:
    command = [*PYTEST, *PLUGINS, "--pyargs", "waffle.tests"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "DJANGO"))}
    run = subprocess.run(command, cwd=settings.BASE_DIR, env=environment, capture_output=True, text=True, check=False)  # noqa: S603
    assert run.returncode == 0, run.stdout[-5000:] + run.stderr[-2000:]
    counts = {word: int(count) for count, word in re.findall(r"(\d+) (passed|failed|skipped|xfailed)", run.stdout)}
    # The skipped one needs django-jinja.
    assert counts == {"passed": 180, "skipped": 1}
