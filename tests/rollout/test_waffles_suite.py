"""waffle's own tests pass against our flag model, except for the differences that concern a phase."""

import os
import re
import subprocess
import sys

import pytest
from django.conf import settings

from tests.waffle_suite.differences import DIFFERENCES

PYTEST = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", ".", "--noconftest"]
PLUGINS = ["-p", "tests.servers", "-p", "tests.waffle_suite.plugin", "-c", "tests/waffle_suite/pytest.ini"]


@pytest.mark.integration
def test_it_passes_except_for_the_differences() -> None:
    command = [*PYTEST, *PLUGINS, "--pyargs", "waffle.tests"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "DJANGO"))}
    run = subprocess.run(command, cwd=settings.BASE_DIR, env=environment, capture_output=True, text=True, check=False)  # noqa: S603
    assert run.returncode == 0, run.stdout[-5000:] + run.stderr[-2000:]
    counts = {word: int(count) for count, word in re.findall(r"(\d+) (\w+)", run.stdout.splitlines()[-1])}
    # The skipped one needs django-jinja.
    assert (counts["passed"], counts["skipped"], counts.get("xfailed", 0)) == (180, 1, len(DIFFERENCES))
