"""Error classes become messages for people."""

import pytest
from django.utils import translation

from profiles.failures import message_for


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
