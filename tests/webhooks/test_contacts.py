import hashlib
import hmac
import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pytest_django.fixtures import Settings

from profiles.lookup import resolve
from profiles.models import PhoneLink
from tests.profiles.people import add_profile
from tests.webhooks.sending import send
from webhooks.payloads.contacts import own_phone
from webhooks.processing import process_inbox

CASES = Path(__file__).parents[1] / "cases"
TOKEN = "bot-token"
CARD = "BEGIN:VCARD\r\nVERSION:3.0\r\nTEL;TYPE=cell:79161234567\r\nFN:Анна\r\nEND:VCARD\r\n"


def signed(card: str, token: str = TOKEN) -> str:
    return hmac.new(token.encode(), card.encode(), hashlib.sha256).hexdigest()


def payload(card: str = CARD, **fields: Any) -> dict[str, Any]:
    return {"vcf_info": card, "hash": signed(card), "max_info": {"user_id": 7}, **fields}


@pytest.fixture(autouse=True)
def _token(settings: Settings) -> None:
    settings.MAX_BOT_TOKEN = TOKEN
    settings.MAX_API_URL = "http://127.0.0.1:1"


@pytest.mark.parametrize(
    "given",
    [
        payload(),
        payload(max_info=None),
        payload(max_info={"user_id": "7"}),
        payload(CARD.replace("79161234567", "+7 916 123-45-67")),
        payload(CARD.replace("\r\n", "\\r\\n")),
        {"vcf_info": CARD.replace("\r\n", "\\r\\n"), "hash": signed(CARD)},
        payload(CARD.replace("TEL;TYPE=cell:", "item1.TEL:tel:")),
    ],
    ids=range(7),
)
def test_it_works(given: dict[str, Any]) -> None:
    assert own_phone(given, "7") == "+79161234567"


@pytest.mark.parametrize(
    ("number", "phone"),
    [("7916123=0A4567", None), ("7916=E2=80=A81234567", None), ("=0A79161234567=0D=0A", "+79161234567")],
)
def test_the_lines_of_a_number_are_not_joined(number: str, phone: str | None) -> None:
    card = CARD.replace("TYPE=cell:79161234567", f"ENCODING=QUOTED-PRINTABLE:{number}")
    assert own_phone(payload(card), "7") == phone


LINES = [
    "TEL:{}",
    "tel;TYPE=cell:{}",
    'item1.TEL;type="a:b";VALUE=uri:tel:{}',
    "TEL;TYPE=ce\r\n ll:{}",
    "TEL:\r\n\t{}",
]


def with_tel(*lines: str) -> dict[str, Any]:
    return payload(CARD.replace("TEL;TYPE=cell:79161234567", "\r\n".join(lines)))


@pytest.mark.parametrize(
    "sign", ["\u202a", "\u202c", "\u200e", "\u2066", "\u2069", "\u200b", "\ufeff", "\u00ad", "\ufe0f"]
)
def test_invisible_characters_are_removed(sign: str) -> None:
    line = "TEL:+79161234567"
    for place in range(len("TEL:+7916123")):
        assert own_phone(with_tel(line[:place] + sign + line[place:] + sign), "7") == "+79161234567", place
        assert own_phone(with_tel(line, line[:place] + sign + line[place:]), "7") is None, place


@pytest.mark.parametrize("case", ["card-estonia", "card-vietnam"])
def test_the_number_of_a_case_stays_foreign(case: str) -> None:
    given = json.loads((CASES / f"{case}.json").read_text())
    attachment = given["update"]["message"]["body"]["attachments"][0]["payload"]
    phone = own_phone(attachment | {"hash": signed(attachment["vcf_info"])}, str(attachment["max_info"]["user_id"]))
    assert phone == given["expected_phone"].partition(",")[0]


@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.from_regex(r"[1-689][0-9]{7,14}|7[0-9]{10}", fullmatch=True),
    st.sampled_from(["", "+"]),
    st.sampled_from(
        ["TEL:{}", "tel;TYPE=cell:{}", 'item1.TEL;type="a:b";VALUE=uri:tel:{}', "TEL;TYPE=ce\r\n ll:{}", "TEL:\r\n\t{}"]
    ),
)
def test_a_number_is_read_as_e164(digits: str, plus: str, line: str) -> None:
    assert own_phone(with_tel(line.format(plus + digits)), "7") == f"+{digits}"


@pytest.mark.parametrize(
    ("line", "phone"),
    [
        ("TEL;CELL;ENCODING=QUOTED-PRINTABLE:=2B3725123428", "+3725123428"),
        ("TEL;QUOTED-PRINTABLE:=\r\n=2B372512=\r\n3428", "+3725123428"),
        ("TEL;waid=79161234567:8 (916) 123-45-67", "+79161234567"),
        ("TEL;waid=79161234567:+7 916 123-45-67", "+79161234567"),
        ("TEL;VALUE=uri:tel:+3725123428;ext=1", "+3725123428"),
        ("TEL:003725123428", None),
        ("TEL:79161", None),
        ("TEL:7916123456", None),
        ("TEL:", None),
        ("X-TEL:79161234567", None),
        ("FN:a\\nTEL:79161234567", None),
    ],
)
def test_it_reads_the_forms_of_a_line(line: str, phone: str | None) -> None:
    assert own_phone(with_tel(line), "7") == phone


@pytest.mark.parametrize(
    "lines",
    [
        ("TEL:79161234567", "TEL:79161234568"),
        ("TEL:79161234567", "item2.tel;TYPE=home:79161234567"),
        ("TEL:79161234567", "END:VCARD", "BEGIN:VCARD", "TEL:79161234568"),
        ("TEL:1", "TE\r\n L:79161234568"),
    ],
    ids=range(4),
)
def test_it_refuses_several_phones(lines: tuple[str, ...], caplog: pytest.LogCaptureFixture) -> None:
    assert own_phone(with_tel(*lines), "7") is None
    (record,) = caplog.records
    assert (vars(record)["event"], vars(record)["reason"]) == ("contact_refused", "2 phones")
    logged = f"{record.getMessage()} {vars(record)}"
    # Not a part of a phone, because the time of the record has digits too.
    assert not [phone for phone in re.findall(r"[0-9]{10}", "".join(lines)) if phone in logged]


@pytest.mark.parametrize("name", [r"a\nTEL:+79160000000", r"a\r\nTEL;TYPE=cell:+79160000000\n"])
def test_a_name_does_not_become_a_phone(name: str) -> None:
    card = CARD.replace("FN:Анна", f"FN:{name}")
    assert own_phone(payload(card), "7") == "+79161234567"
    assert own_phone(payload(card.replace("TEL;TYPE=cell:79161234567\r\n", "")), "7") is None


@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(), st.text())
def test_any_signed_card_is_read_or_refused(before: str, after: str) -> None:
    card = f"{before}\r\nTEL:{after}\r\n"
    phone = own_phone(payload(card, hash=hmac.new(b"bot-token", card.encode(), hashlib.sha256).hexdigest()), "7")
    assert phone is None or re.fullmatch(r"\+[1-9][0-9]{7,14}", phone)


@pytest.mark.parametrize(
    "given",
    [
        payload(hash=None),
        payload(hash=""),
        payload(hash=signed(CARD, "another-token")),
        payload(hash=signed(CARD).upper()),
        payload(hash="я" * 64),
        payload(vcf_info=None),
        payload(vcf_info=5),
        payload(max_info={"user_id": 8}),
        payload(max_info={"user_id": True}),
        payload(max_info={}),
        payload(max_info="7"),
        payload("BEGIN:VCARD\r\nEND:VCARD"),
        payload(CARD.replace("79161234567", "12")),
        {},
    ],
    ids=range(14),
)
def test_it_refuses_a_card_of_anybody_else(given: dict[str, Any]) -> None:
    assert own_phone(given, "7") is None


def test_it_refuses_without_a_token(settings: Settings) -> None:
    settings.MAX_BOT_TOKEN = ""
    assert own_phone(payload(hash=signed(CARD, "")), "7") is None


def share(user_id: int, timestamp: int, **fields: Any) -> None:
    contact = {"type": "contact", "payload": payload(max_info={"user_id": user_id}, **fields)}
    message = {
        "sender": {"user_id": user_id, "first_name": "Анна"},
        "body": {"mid": f"{user_id}.{timestamp}", "attachments": [{"type": "image"}, None, contact]},
    }
    send({"update_type": "message_created", "timestamp": timestamp, "message": message})


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("cache_first")
@pytest.mark.parametrize("order", [[(7, 1), (8, 2)], [(8, 2), (7, 1)]])
def test_the_latest_contact_links_in_any_order(order: list[tuple[int, int]]) -> None:
    for user_id, timestamp in order:
        share(user_id, timestamp)
        process_inbox()
    assert list(PhoneLink.objects.values_list("phone", "user_id")) == [("+79161234567", "8")]


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("cache_first")
def test_a_linked_phone_leads_to_the_profile() -> None:
    share(7, 1)
    process_inbox()
    add_profile("7", "Анна", "Иванова")
    name = resolve(phone="+79161234567", max_id=None, university_id=None)
    assert (name.first_name, name.max_id, name.source) == ("Анна", "7", "webhook")


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("cache_first")
def test_a_foreign_contact_links_nobody() -> None:
    share(7, 1, hash="0" * 64)
    process_inbox()
    assert not PhoneLink.objects.exists()
