"""What went wrong is told in words; the class of an error is for logs and programs."""

import pytest
from django.utils import translation

from profiles.failures import message_for


@pytest.mark.parametrize(
    ("error", "english", "russian"),
    [
        ("info: TimeoutError", "no answer in time", "нет ответа вовремя"),
        ("ConnectTimeout", "no answer in time", "нет ответа вовремя"),
        ("status 503", "it answered with status 503", "ответ с кодом 503"),
        ("the body is not an object", "the body is not an object", "тело не объект"),
        ("ZeroDivisionError", "an unexpected error, see the logs", "неожиданная ошибка, подробности в журнале"),
        ("", "an unexpected error, see the logs", "неожиданная ошибка, подробности в журнале"),
        ("more than 100 % of it", "more than 100 % of it", "more than 100 % of it"),
    ],
)
def test_it_works(error: str, english: str, russian: str) -> None:
    for language, text in (("en", english), ("ru", russian)):
        with translation.override(language):
            assert str(message_for(error)) == text
