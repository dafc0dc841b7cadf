"""No text from outside takes more than linear time, wherever it is read: a frozen worker answers nobody."""

import gc
import hashlib
import hmac
import json
import os
import random
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import product

import pytest
from django.test import Client, override_settings
from rest_framework.exceptions import ValidationError
from rest_framework.test import APIClient

from config.lib import request_id, text
from config.lib.http.addresses import parse_address
from config.lib.phone_masks import mask_phones
from employees.import_export import cells, tables
from employees.import_export.encodings import UndecodableFile, decode, has_swapped_case, is_garbled
from employees.models import Employee
from profiles import names, phones, typed_values
from profiles.api.serializers import UserIdField
from profiles.rollout import rules
from tests.employees.workbooks import cell, rows, workbook
from webhooks.payloads import MalformedUpdate, unwrap
from webhooks.payloads.bot_commands import name_given_in
from webhooks.payloads.contacts import own_phone

SHORT, LONG = 400, 1_600
# Seconds of processor time: what takes less is not compared.
FLOOR = 0.005
MARKS = "\u0301\u0323"
SIGNS = [
    *("a", "Z", "я", "ї", "ы", "ў", "l", "e", "0", "1", "7", " ", "\t", "\n", "\r\n", "\xa0", "\u3164", "\ufeff", "\0"),
    *("+", "-", "–", ".", ",", ":", ";", "/", "\\", "'", "’", "‘", "`", '"', "“", "„", "«", "»", "(", ")", "[", "]"),
    *(" »", "×", "┼"),
    *(
        "{",
        "}",
        "<",
        "=",
        "#",
        "*",
        "?",
        "!",
        "%",
        "@",
        "_",
        "~",
        "~{",
        "\x1b",
        "\x1b[",
        "№",
        "°",
        "¨",
        "À",
        "Ð",
        "\ufffd",
    ),
    *(
        MARKS,
        "\u0323",
        "\u0f73",
        "\u0344\u0323",
        "\uff9e\u0301",
        "\u0483",
        "\u200d",
        "\ufe0f",
        "\U0001f3f4",
        "\U000e0067",
    ),
    *("\U0001f469", "\ud800", "\ufdfa", "1.", "1/1 ", "+1", "+AAA-,x\n", "TEL:", "\n ", "=\n", "ї'", "«ї", "я1", "aя"),
]
TAILS = ("", "x", "ж", "1", ".")
PHONE_CSV = "phone,last_name\n+79161117001,"


def hostile() -> list[tuple[str, str]]:
    """Return the units of texts and their ends: all ends of single signs and of a few pairs, or all for FUZZ=full."""
    pairs = [first + second for first in SIGNS for second in SIGNS if first != second]
    pairs = pairs if os.environ.get("FUZZ") == "full" else random.Random(5).sample(pairs, 5)
    return [*product([*SIGNS, *pairs], TAILS)]


def card(content: str) -> str | None:
    signed = hmac.new(b"token", content.encode(errors="replace"), hashlib.sha256).hexdigest()
    return own_phone({"vcf_info": content, "hash": signed}, "1")


def encoded(encoding: str) -> Callable[[str], object]:
    return lambda content: decode((PHONE_CSV + content).encode(encoding, "ignore"))


READERS: dict[str, Callable[[str], object]] = {
    "clean": text.clean,
    # Without its cache.
    "look-alike key": text.look_alike_key.__wrapped__,
    "for_terminal": lambda content: text.for_terminal(content, has_colours=True),
    "name": names.clean,
    "own name": names.user_provided,
    "id field": UserIdField().run_validation,
    "number": typed_values.is_number,
    "other types": typed_values.refuse_other_types,
    "command": lambda content: name_given_in(f"/setname {content}"),
    "contact card": lambda content: card(f"BEGIN:VCARD\nTEL;QUOTED-PRINTABLE{content}"),
    "contact card's phone": lambda content: card(f"BEGIN:VCARD\nTEL:{content}"),
    "update": lambda content: unwrap(f'{{"updates": [{content}'.encode(errors="replace")),
    "update's text": lambda content: unwrap(json.dumps({"text": content}).encode()[:-1]),
    "csv in utf-8": encoded("utf-8"),
    "csv in ascii": encoded("ascii"),
    "csv in cp1251": lambda content: decode(
        (PHONE_CSV + "Иванов,").encode("cp1251") + content.encode("cp1251", "ignore")
    ),
    "table": lambda content: tables.read_csv((PHONE_CSV + content).encode(errors="replace"), max_rows=9),
    "cell": cells.read_text,
    # Without the limit of a cell's length.
    "garbled": is_garbled,
    "swapped case": has_swapped_case,
    "headings": lambda content: tables.read_csv(
        ",".join(f"{content[at : at + 150]}{at}" for at in range(0, len(content), 150)).encode(errors="replace")
    ),
    "search": Employee.objects.all().matching,
    "mask": mask_phones,
    "request id": request_id.begin,
    "address": parse_address,
    "percentage": rules.PERCENTAGE.fullmatch,
}
REFUSALS = (ValueError, ValidationError, MalformedUpdate, UndecodableFile)


@pytest.fixture(autouse=True)
def _without_garbage_collector() -> Iterator[None]:
    """Keep the collector's time, which depends on all objects of the process, out of what is measured."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def seconds(read: Callable[[str], object], content: str, times: int = 1) -> float:
    """Return the least processor time of several attempts, which other load and first uses do not change."""
    taken = []
    for _attempt in range(times):
        began = time.thread_time()
        with suppress(*REFUSALS):
            read(content)
        taken.append(time.thread_time() - began)
    return min(taken)


@pytest.mark.parametrize("unit", ["1/1 ", "1.1 ", "1-1 ", "1 . "])
def test_a_phone_is_not_divided_into_dates_in_all_ways(unit: str) -> None:
    assert seconds(phones.normalize, f"{unit * 18}x1") < 0.05


@pytest.mark.long
@pytest.mark.parametrize("unit", ["-", ".", "(", ")", "- ", ". ", "()", ") (", "–."])
def test_punctuation_in_a_phone_takes_linear_time(unit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Test without the limit of a phone's length, behind which no pattern would be tried."""
    monkeypatch.setattr(phones, "_LONGEST", 10_000)
    for digits in (
        "+49 0 170 1234567",
        "8 916 123 45 67",
        "1 1 1 1 1 1 1 1 1 1",
        "01.01 2024 10.1",
        "+1.1 1.1 1.1 1.1",
    ):
        gaps = digits.count(" ")
        short, long = (digits.replace(" ", unit * (length // len(unit) // gaps)) for length in (SHORT, 4 * SHORT))
        taken = seconds(phones.normalize, long)
        assert taken < FLOOR or taken < 8 * seconds(phones.normalize, short), digits


@pytest.mark.long
@pytest.mark.parametrize("reader", READERS)
@override_settings(MAX_BOT_TOKEN="token")
def test_time_grows_like_the_length(reader: str) -> None:
    read = READERS[reader]
    for unit, tail in hostile():
        short, long = (unit * (length // len(unit)) + tail for length in (SHORT, LONG))
        if seconds(read, long) > FLOOR:
            assert seconds(read, long, 3) < max(FLOOR, 8 * seconds(read, short, 3)), (ascii(long[:12]), tail)


@pytest.mark.long
@pytest.mark.parametrize(
    "content",
    [
        (PHONE_CSV + "A\n" + "+" * 8_000).encode(),
        b"phone,last_name\n" + b"+AAA-,x\n" * 4_000,
        ("телефон;фамилия\n+79161117001;" + "ї" * 4_000).encode("cp1251"),
        ("телефон;фамилия\n+79161117001;" + "Яя" * 3_000 + "1").encode("cp1251"),
    ],
    ids=["plus signs", "shifts", "Ukrainian letters", "a long word"],
)
def test_a_small_file_is_read_at_once(content: bytes) -> None:
    assert seconds(lambda _: decode(content), "") < 0.3


@pytest.mark.long
@pytest.mark.parametrize(
    ("columns", "length", "words"),
    [(1_600, 900, "more than 1000 columns"), (50, 30_000, "no “Phone” column"), (1_000, 190, "no “Phone” column")],
)
def test_a_row_of_headings_is_read_at_once(columns: int, length: int, words: str) -> None:
    """Each of the characters is compatible with eighteen letters."""
    content = (",".join(f"{chr(0xFDFA) * length}{number}" for number in range(columns)) + "\n").encode()
    began = time.thread_time()
    with pytest.raises(tables.UnreadableFile, match=words):
        tables.read(content)
    assert time.thread_time() - began < 3


@pytest.mark.long
@pytest.mark.parametrize(
    "headings",
    [";" * 1_000_000, "я,я;" * 300_000, ";".join(["я," * 490] * 999), ";".join(["-," * 90 + "телефон"] * 999)],
    ids=["empty", "of two parts", "of many parts", "with a known part"],
)
@pytest.mark.parametrize("delimiters", [";,", ",;", "\t;"])
def test_headings_with_two_delimiters_are_read_at_once(headings: str, delimiters: str) -> None:
    content = f"Телефон;{headings}\n89161117001;1,2\n".translate(str.maketrans(";,", delimiters)).encode()
    began = time.thread_time()
    with suppress(tables.UnreadableFile):
        tables.read(content)
    assert time.thread_time() - began < 3


@pytest.mark.long
@pytest.mark.parametrize("length", [100, 1_000])
def test_an_invisible_text_in_many_cells_is_read_at_once(length: int) -> None:
    shared = f"<si><t>{chr(0x3164) * length}</t></si>"
    row = "<row>" + cell("s", "0") * 1_000 + "</row>"
    began = time.thread_time()
    table = tables.read(workbook(f"{rows([cell('str', 'phone')])}{row * 40}", strings=shared))
    assert len(table) == (0 if length == 100 else 40)
    assert time.thread_time() - began < 3


@pytest.mark.long
@pytest.mark.django_db
def test_a_request_of_marks_is_answered_at_once() -> None:
    marks = "a" + MARKS * 15_000
    login = {"username": marks, "password": marks}
    requests: list[Callable[[], object]] = [
        lambda: APIClient().post("/api/token", login, format="json"),
        lambda: Client().get("/nowhere", {"x": marks}),
        lambda: Client().post("/admin/nowhere/", {"x": marks}),
    ]
    for send in requests:
        began = time.thread_time()
        send()
        assert time.thread_time() - began < 1
