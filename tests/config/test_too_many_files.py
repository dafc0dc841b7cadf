"""A process that can open no more files answers 503 to a request that needs one; other errors of files are our own."""

import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from django.http import HttpResponse
from django.test import RequestFactory

from config.lib.http import errors
from config.lib.http.middleware import FailureMiddleware
from tests.config.test_error_pages import shown


@contextmanager
def no_free_files() -> Iterator[None]:
    """Forbid this process to open another file; those that are open stay open."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    used = max(int(path.name) for path in Path("/proc/self/fd").iterdir()) + 1
    resource.setrlimit(resource.RLIMIT_NOFILE, (used, limits[1]))
    taken = []
    try:
        # Numbers below the highest may be free.
        while True:
            taken.append(os.dup(1))
    except OSError:
        yield
    finally:
        for number in taken:
            os.close(number)
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


@pytest.fixture
def error() -> OSError:
    with no_free_files(), pytest.raises(OSError, match="Too many open files") as raised:
        os.open(os.devnull, os.O_RDONLY)
    return raised.value


def test_the_api_answers_503(error: OSError, rf: RequestFactory) -> None:
    answer = errors.handle(error, {"request": rf.get("/employees")})
    assert answer is not None
    assert (answer.status_code, answer["Retry-After"]) == (503, "5")


def test_the_admin_answers_503(error: OSError, rf: RequestFactory) -> None:
    middleware = FailureMiddleware(lambda request: HttpResponse())
    answer = middleware.process_exception(rf.get("/admin/"), error)
    assert shown(answer, 503)
    assert answer is not None
    assert answer["Retry-After"] == "5"


def test_another_error_of_a_file_is_our_own(rf: RequestFactory) -> None:
    error = FileNotFoundError(2, "no such file")
    assert errors.failure(error, "POST") is None
    assert FailureMiddleware(lambda request: HttpResponse()).process_exception(rf.get("/admin/"), error) is None
