"""Error classes become messages for people."""

import pytest
from django.utils import translation

from config.lib.http.errors import failure
from config.postgres.base import CommitNotConfirmed, CommitUnanswered
from profiles.failures import message_for


def test_pages_logs_and_the_api_use_one_text() -> None:
    for error in (CommitNotConfirmed(), CommitUnanswered()):
        known = failure(error, "POST")
        assert known
        assert known.headers == {}
        assert str(message_for(type(error).__name__)) == known.reason
        # A request that changes nothing may be repeated.
        harmless = failure(error, "GET")
        assert harmless
        assert (harmless.code, "Retry-After" in harmless.headers) == ("UNAVAILABLE", True)


@pytest.mark.parametrize(
    ("error", "english", "russian"),
    [
        ("info: TimeoutError", "timed out", "время ожидания истекло"),
        ("ConnectTimeout", "timed out", "время ожидания истекло"),
        ("status 503", "HTTP status 503", "код ответа 503"),
        ("the body is not a JSON object", "the body is not a JSON object", "тело — не объект JSON"),
        ("ZeroDivisionError", "unexpected error, see the logs", "непредвиденная ошибка, подробности в журнале"),
        ("", "unexpected error, see the logs", "непредвиденная ошибка, подробности в журнале"),
        ("more than 100 % of it", "more than 100 % of it", "more than 100 % of it"),
    ],
)
def test_it_works(error: str, english: str, russian: str) -> None:
    for language, text in (("en", english), ("ru", russian)):
        with translation.override(language):
            assert str(message_for(error)) == text
