import hashlib
import hmac
from typing import Any

import pytest
from pytest_django.fixtures import Settings

from profiles.lookup import resolve
from profiles.models import PhoneLink
from tests.profiles.people import add_profile
from tests.webhooks.sending import send
from webhooks.contacts import own_phone
from webhooks.processing import process_inbox

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


def test_a_foreign_number_may_lack_its_plus() -> None:
    assert own_phone(payload(CARD.replace("79161234567", "375291234567")), "7") == "+375291234567"


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
