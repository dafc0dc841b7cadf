"""Each encoding of a CSV file is read right or refused, and no name is ever stored garbled."""

import os
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from employees.import_export.encodings import UndecodableFile, decode, is_garbled

EXAMPLES = settings(max_examples=int(os.environ.get("CELL_EXAMPLES", "60")), deadline=None)
LAST_NAMES = [
    *("Иванов", "Смирнова", "Кузнецов", "Попова", "Соколов", "Ли", "Ким", "Пак", "Ян", "Юн", "Цой"),
    *("Хрущёв", "Щукина", "Жданов", "Шпак", "Ёлкина", "Юсуфов", "Яхшиева", "Эрнст", "Фет", "Бах", "Зыков"),
    *("Чжао", "Ощепков", "Ульянова", "Крыжановский", "Мухаметзянова", "Оглы", "Дзю", "Гоголь-Яновский"),
    *("О'Коннор", "Подъячев", "Рюриков"),
]
FIRST_NAMES = [
    *("Анна", "Иван", "Ольга", "Олег", "Пётр", "Юрий", "Яна", "Ия", "Лев", "Мария", "Александр"),
    *("Екатерина", "Гульнара", "Рустам", "Эдуард", "Фёдор", "Жанна", "Зоя", "Илья", "Чингиз", "Шамиль"),
    *("Хасан", "Ульяна", "Нгуен", "Айгуль", "Юсуф"),
]
UNIVERSITIES = [
    *("", "МГУ", "СПбГУ", "УрФУ", "ТюмГУ", "ВШЭ", "Вуз ошибок", "Лицей № 5", "Первый вуз"),
    *("ФГБОУ ВО «МГТУ им. Н.Э. Баумана»", "Казанский (Приволжский) федеральный университет"),
]
EIGHT_BITS = ["koi8_r", "koi8_u", "cp866", "cp1125", "cp855", "mac_cyrillic", "iso8859_5"]
HEADINGS = "phone;last_name;first_name;university_name"


@st.composite
def tables(draw: st.DrawFn) -> str:
    cases: list[Callable[[str], str]] = [str, str, str.upper, str.lower]
    case = draw(st.sampled_from(cases))
    person = st.tuples(*(st.sampled_from(choices) for choices in (LAST_NAMES, FIRST_NAMES, UNIVERSITIES)))
    rows = [case(";".join(draw(person))) for _ in range(draw(st.integers(1, 6)))]
    return "\r\n".join([HEADINGS, *(f"+7916090001{number};{row}" for number, row in enumerate(rows)), ""])


@EXAMPLES
@given(tables(), st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"]))
def test_unicode_is_read(text: str, encoding: str) -> None:
    assert decode(text.encode(encoding)) == text


@EXAMPLES
@given(tables())
def test_windows_1251_is_read(text: str) -> None:
    text += "+79160900009;Смирнова;Анна;Вуз ошибок\r\n"
    assert decode(text.encode("cp1251")) == text


@EXAMPLES
@given(tables(), st.sampled_from([*EIGHT_BITS, "cp1251", "utf-32", "utf-32-le"]))
def test_other_encodings_are_read_right_or_refused(text: str, encoding: str) -> None:
    content = text.encode(encoding, "replace")
    try:
        read = decode(content)
    except UndecodableFile as error:
        assert "Save the file as “CSV UTF-8”" in str(error)  # noqa: PT017
    else:
        assert read == content.decode(encoding)


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("Müller;José", "cp1252"),
        ("Łukasz", "cp1250"),
        ("王小明", "gb18030"),
        ("田中", "shift_jis"),
        ("김민준", "euc_kr"),
        ("Ілля", "cp1251"),
        ("Ғалым", "kz1048"),
        ("Ли", "cp855"),
    ],
)
def test_names_in_other_alphabets_are_refused(text: str, encoding: str) -> None:
    with pytest.raises(UndecodableFile, match="Row 2"):
        decode(f"phone;last_name\n1;{text}\n".encode(encoding))


@pytest.mark.parametrize("name", ["Ли", "Ёлкина", "ООО “Ромашка”", "О’Коннор", "Вуз «Север» № 5 – филиал", "Müller"])
def test_usual_names_are_read(name: str) -> None:
    text = f"phone;last_name\n1;{name}\n"
    assert decode(text.encode("utf-8")) == text
    if name != "Müller":
        assert decode(text.encode("cp1251")) == text


def test_the_row_is_named() -> None:
    rows = ["phone;last_name", "1;Smith", '2;"a\nb"', "3;Иванов"]
    with pytest.raises(UndecodableFile, match="Row 5"):
        decode("\n".join(rows).encode("koi8_r"))


@EXAMPLES
@given(st.sampled_from([*LAST_NAMES, *FIRST_NAMES, *UNIVERSITIES]).filter(lambda name: len(name) > 3))
def test_text_that_was_garbled_before_is_recognized(name: str) -> None:
    assert not is_garbled(name)
    assert is_garbled(name.encode().decode("latin_1"))
    assert is_garbled(name.encode().decode("cp866"))
    assert is_garbled(name.replace("№", "").encode("cp1251").decode("latin_1"))


@pytest.mark.parametrize("name", ["Éloïse", "Ångström", "Þórður", "Łukasz", "Nguyễn", "Ö", "Серёгин", "Ғалым", "王"])
def test_foreign_names_are_not_garbled(name: str) -> None:
    assert not is_garbled(name)
