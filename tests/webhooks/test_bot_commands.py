import pytest

from webhooks.payloads.bot_commands import name_given_in


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("/setname Иван", "Иван"),
        ("/SETNAME  Иван   Петров", "Иван Петров"),
        ("/имя Анна-Мария", "Анна-Мария"),
        ("меня зовут О'Коннор", "О'Коннор"),
        ("Меня зовут: Иван. Я студент", "Иван"),
        ("моё имя Иван, привет", "Иван"),
        ("мое имя Иван\nещё строка", "Иван"),
        ("мое\u0308 имя Иван!", "Иван"),
        ("/имя И. Иванов", "И. Иванов"),
        ("/имя И.И. Иванов. Спасибо", "И.И. Иванов"),
        ("/setname José", "José"),
        ("/setname " + "я" * 100, "я" * 100),
    ],
)
def test_it_works(text: str, name: str) -> None:
    assert name_given_in(text) == name


@pytest.mark.parametrize(
    "text",
    [
        "",
        "привет",
        "/setname",
        "/setname   ",
        "/setname\nИван",
        "/setnameИван",
        "меня зовутка Иван",
        "а меня зовут Иван",
        "/имя 12345",
        "/имя <b>Иван</b>",
        "/имя , Иван",
        "/setname " + "я" * 101,
    ],
)
def test_it_refuses_other_texts_and_invalid_names(text: str) -> None:
    assert name_given_in(text) is None
