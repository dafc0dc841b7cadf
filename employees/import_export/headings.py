"""Recognise Russian and English column headings, however they are spelled, and create templates of import files."""

import re
import unicodedata
from collections.abc import Mapping
from functools import cache
from io import BytesIO
from typing import Any

from django.utils.translation import get_language, override, pgettext
from django.utils.translation import gettext as _
from openpyxl import Workbook
from openpyxl.utils import get_column_letter
from tablib import Dataset

from config.lib import text as texts

# The first heading of a column in each language is the one in the template.
_RUSSIAN = {
    "phone": "Телефон, мобильный, мобильный телефон, сотовый, сотовый телефон, телефон мобильный, телефон сотовый",
    "last_name": "Фамилия",
    "first_name": "Имя",
    "middle_name": "Отчество",
    "max_id": "MAX ID, ID MAX, ID в MAX, ИД MAX, MAX ИД, айди MAX, МАКС ID, ID МАКС, ID в МАКС",
    "role": "Роль, роль в системе",
    "inn": "ИНН, ИНН вуза, ИНН университета, ИНН организации",
    "kpp": "КПП, КПП вуза, КПП университета, КПП организации",
    "university_name": "Вуз, университет, организация, название вуза, наименование вуза, название университета,"
    " наименование университета, название организации, наименование организации, учебное заведение",
}
_ENGLISH = {
    "phone": "Phone, tel, telephone, mobile, mobile phone, cell phone, cell, phonenumber, mobilenumber",
    "last_name": "Last name, surname, family name",
    "first_name": "First name, given name",
    "middle_name": "Middle name, patronymic",
    "max_id": "MAX ID, MAX user ID",
    "role": "Role",
    "inn": "INN, university INN",
    "kpp": "KPP, university KPP",
    "university_name": "University, university name, name of university, name of the university, organization",
}
# The columns that an import reads.
COLUMNS = tuple(_RUSSIAN)
# Headings of one column with all names, which an import could only split by guessing.
_WHOLE_NAMES = (
    "ФИО, фамилия имя отчество, фамилия и имя, фамилия имя, имя и фамилия, имя фамилия, полное имя, full name"
)
# Words that do not change what a heading means.
_FILLERS = (
    "номер номера сотрудника работника контактный контактного личный личного для связи обязательно необязательно при"
    " наличии number employee employees required optional"
)
_FORMS = {
    "тел": "телефон",
    "телефона": "телефон",
    "моб": "мобильный",
    "мобильного": "мобильный",
    "сот": "сотовый",
    "сотового": "сотовый",
}
_WORD = re.compile(r"[^\W_]+")
# The longest heading that may be a known one, in characters; NFKD may replace a single character by eighteen.
LONGEST = 200


def _words(text: str) -> list[str]:
    text = text.replace("№", " номер ").replace("ё", "е").replace("Ё", "Е")
    return _WORD.findall(texts.look_alike_key(text))


_IGNORED = set(_words(_FILLERS))
_FOLDED_FORMS = {_words(form)[0]: _words(word)[0] for form, word in _FORMS.items()}


def _key(heading: str) -> str:
    """Return a key that is the same for all spellings of a heading.

    It ignores case, ё, look-alike letters, spaces, punctuation and words such as “номер”. It is empty if the heading is
    too long to be a known one.
    """
    if len(unicodedata.normalize("NFKD", heading[: LONGEST + 1])) > LONGEST:
        return ""
    words = (_FOLDED_FORMS.get(word, word) for word in _words(heading))
    return "".join(word for word in words if word not in _IGNORED)


_COLUMN_OF = {_key(column): column for column in COLUMNS} | {
    _key(heading): column
    for table in (_RUSSIAN, _ENGLISH)
    for column, headings in table.items()
    for heading in headings.split(", ")
}
# With a separator between the words, these may be two headings of the phone.
_TWO_PHONES = set(map(_key, ("телефон мобильный", "телефон сотовый")))
_SEPARATOR = re.compile(r"[,;\t]")
_WHOLE_NAME_KEYS = set(map(_key, _WHOLE_NAMES.split(", ")))


def column_of(heading: str) -> str | None:
    """Return the column that a heading names; None for an unknown heading."""
    key = _key(heading)
    return None if key in _TWO_PHONES and _SEPARATOR.search(heading) else _COLUMN_OF.get(key)


def is_whole_name(heading: str) -> bool:
    return _key(heading) in _WHOLE_NAME_KEYS


def heading_of(column: str) -> str:
    """Return the heading of a column in the active language."""
    return (_RUSSIAN if get_language() == "ru" else _ENGLISH)[column].partition(",")[0]


def example() -> dict[str, str]:
    """Return the example row of a template, in the active language, as a dict of values by column."""
    return {
        "phone": _("Example: %s") % "8 (916) 123-45-67",
        "last_name": pgettext("example", "Petrov"),
        "first_name": pgettext("example", "Ivan"),
        "middle_name": pgettext("example", "Sergeevich"),
        "max_id": "",
        "role": "",
        "inn": "7707083893",
        "kpp": "773601001",
        "university_name": pgettext("example", "First University"),
    }


def is_example(row: Mapping[str, object]) -> bool:
    """Return whether the row is the unchanged example of a template.

    A real row never matches, because the phone in the example begins with a word.
    """
    return any(all(texts.clean(str(row[name])) == shown[name] for name in row) for shown in _examples())


@cache
def _examples() -> list[dict[str, str]]:
    examples = []
    for language in ("ru", "en"):
        with override(language):
            examples.append(example())
    return examples


def template(kind: str, *, is_limited: bool) -> bytes:
    """Return the content of a template file, ``csv`` or ``xlsx``, with headings and an example in the active language.

    ``is_limited``, for users who are limited to one university, leaves out the columns that describe a university.
    """
    columns = [name for name in COLUMNS if not (is_limited and name in ("inn", "kpp", "university_name"))]
    headings, shown = list(map(heading_of, columns)), example()
    values = [shown[name] for name in columns]
    if kind == "csv":
        # Excel reads UTF-8 only after this mark, and splits cells at its language's separator.
        separator = ";" if get_language() == "ru" else ","
        return f"\ufeff{Dataset(values, headers=headings).export('csv', delimiter=separator)}".encode()
    book = Workbook()
    sheet: Any = book.active
    for row in (headings, values):
        sheet.append(row)
    for number in range(1, len(columns) + 1):
        # As text, so that a spreadsheet keeps long numbers and leading zeros.
        column = sheet.column_dimensions[get_column_letter(number)]
        column.number_format, column.width = "@", 24
        for row_number in (1, 2):
            sheet.cell(row_number, number).number_format = "@"
    file = BytesIO()
    book.save(file)
    return file.getvalue()
