"""Hostile requests: status by docs/reference/http-api.md, no crash in receiver or worker; the next update works."""

import json
from typing import Any

import pytest

from profiles.models import Profile
from tests.webhooks.sending import Protocol, Reply, send
from webhooks.models import InboxUpdate, State
from webhooks.processing import process_inbox
from webhooks.receiver import LARGEST_BODY

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("cache_first")]

DONE, QUARANTINED = State.DONE, State.QUARANTINED
GOOD = {
    "update_type": "bot_started",
    "timestamp": 1775025604499,
    "chat_id": 5,
    "user": {"user_id": 7, "first_name": "Я"},
}


def update(**fields: Any) -> bytes:
    return json.dumps(GOOD | fields).encode()


def user(**fields: Any) -> bytes:
    return update(user={"user_id": 9, "first_name": "Анна"} | fields)


def message(**fields: Any) -> bytes:
    body = {"sender": {"user_id": 9, "first_name": "Анна"}, "body": {"mid": "m"}} | fields
    return json.dumps({"update_type": "message_created", "timestamp": 1775025604499, "message": body}).encode()


BODIES: dict[str, tuple[bytes, State]] = {
    # Not JSON
    "empty": (b"", QUARANTINED),
    "white space": (b" \r\n\t", QUARANTINED),
    "word": (b"hello", QUARANTINED),
    "cut off": (update()[:-5], QUARANTINED),
    "two values": (update() + update(), QUARANTINED),
    "trailing comma": (b'{"update_type": "bot_started",}', QUARANTINED),
    "single quotes": (b"{'update_type': 'bot_started'}", QUARANTINED),
    "comment": (b'{/* x */"a": 1}', QUARANTINED),
    "NaN": (b'{"timestamp": NaN}', QUARANTINED),
    "Infinity": (b'{"timestamp": Infinity}', QUARANTINED),
    "-Infinity": (b'{"timestamp": -Infinity}', QUARANTINED),
    "5 000 digits": (b'{"timestamp": ' + b"9" * 5000 + b"}", DONE),
    "hexadecimal": (b'{"timestamp": 0x10}', QUARANTINED),
    "leading zero": (b'{"timestamp": 010}', QUARANTINED),
    "control character in a string": (b'{"a": "\x01"}', QUARANTINED),
    "unfinished escape": (b'{"a": "\\u12"}', QUARANTINED),
    # Encodings
    "byte order mark": (b"\xef\xbb\xbf" + update(), QUARANTINED),
    "invalid UTF-8": (b'{"a": "\xff\xfe"}', QUARANTINED),
    "overlong UTF-8": (b'{"a": "\xc0\x80"}', QUARANTINED),
    "UTF-16": (update().decode().encode("utf-16"), QUARANTINED),
    "UTF-16 without a mark": (update().decode().encode("utf-16-le"), QUARANTINED),
    "UTF-32": (update().decode().encode("utf-32"), QUARANTINED),
    "latin-1": ('{"a": "é"}'.encode("latin-1"), QUARANTINED),
    "binary": (bytes(range(256)), QUARANTINED),
    "NUL bytes": (b"\0" * 100, QUARANTINED),
    # Nesting
    "100 000 arrays": (b"[" * 100_000, QUARANTINED),
    "100 000 objects": (b'{"a":' * 40_000 + b"1" + b"}" * 40_000, QUARANTINED),
    "deep but closed": (b'{"a":' + b"[" * 90_000 + b"]" * 90_000 + b"}", QUARANTINED),
    "900 arrays in a field": (update(payload=json.loads("[" * 900 + "]" * 900)), DONE),
    # Not an object
    "array": (b"[]", QUARANTINED),
    "array of updates": (b"[" + update() + b"]", QUARANTINED),
    "number": (b"1", QUARANTINED),
    "string": (b'"bot_started"', QUARANTINED),
    "null": (b"null", QUARANTINED),
    "true": (b"true", QUARANTINED),
    # Envelopes
    "envelope of a number": (b'{"updates": 1}', QUARANTINED),
    "envelope of null": (b'{"updates": null}', QUARANTINED),
    "envelope of a number in a list": (b'{"updates": [1]}', QUARANTINED),
    "envelope with a number of 5 000 digits": (b'{"updates": [{"x": ' + b"9" * 5000 + b"}]}", DONE),
    "envelope of 101": (json.dumps({"updates": [{"n": n} for n in range(101)]}).encode(), QUARANTINED),
    "envelope with a number beyond floats": (
        b'{"updates": [{"update_type": "bot_started", "x": 1e400, "user": {"user_id": 9}}]}',
        DONE,
    ),
    "envelope in an envelope": (b'{"updates": [{"updates": []}]}', QUARANTINED),
    # Types
    "no type": (b"{}", DONE),
    "type null": (update(update_type=None), DONE),
    "type a number": (update(update_type=5), DONE),
    "type an object": (update(update_type={}), DONE),
    "type of 10 000 letters": (update(update_type="x" * 10_000), DONE),
    "type with NUL": (update(update_type="bot\0started"), DONE),
    "type a surrogate": (update(update_type="\ud800"), DONE),
    "unknown type": (update(update_type="brand_new"), DONE),
    "both types": (update(type="message_new"), DONE),
    "duplicate keys": (b'{"update_type": "x", "update_type": "bot_started", "user": {"user_id": 9}}', DONE),
    # Ids
    "id true": (user(user_id=True), QUARANTINED),
    "id false": (user(user_id=False), QUARANTINED),
    "id 0": (user(user_id=0), QUARANTINED),
    "id -1": (user(user_id=-1), QUARANTINED),
    "id 2^63": (user(user_id=2**63), QUARANTINED),
    "id 2^63-1": (user(user_id=2**63 - 1), DONE),
    "id 10^400": (user(user_id=10**400), QUARANTINED),
    "id 1.5": (user(user_id=1.5), QUARANTINED),
    "id 1e3": (update(user={"user_id": 1e3}), QUARANTINED),
    "id null": (user(user_id=None), QUARANTINED),
    "id an object": (user(user_id={}), QUARANTINED),
    "id empty": (user(user_id=""), QUARANTINED),
    "id with NUL": (user(user_id="a\0b"), QUARANTINED),
    "id a surrogate": (user(user_id="\udfff"), QUARANTINED),
    "id of 65 letters": (user(user_id="x" * 65), QUARANTINED),
    "id in Arabic digits": (user(user_id="١٢٣"), QUARANTINED),
    "user a string": (update(user="Анна"), QUARANTINED),
    "user an array": (update(user=[{"user_id": 9}]), QUARANTINED),
    "user null": (update(user=None), DONE),
    # Names
    "name a number": (user(first_name=5), DONE),
    "name an object": (user(first_name={"a": 1}), DONE),
    "name NUL": (user(first_name="\0"), DONE),
    "name with NUL": (user(first_name="Ан\0на"), DONE),
    "name a lone surrogate": (user(first_name="\ud83d"), DONE),
    "name half a pair": (user(first_name="Анна\ude00"), DONE),
    "name of 100 000 letters": (user(first_name="я" * 20_000), DONE),
    "name of combining marks": (user(first_name="a" + "\u0301" * 20_000), DONE),
    "name right to left": (user(first_name="\u202eаннА\u202c"), DONE),
    "name HTML": (user(first_name="<script>alert(1)</script>"), DONE),
    "name SQL": (user(first_name="'; DROP TABLE profile_cache; --"), DONE),
    # Times
    "time negative": (update(timestamp=-1), DONE),
    "time a string": (update(timestamp="yesterday"), DONE),
    "time a float": (update(timestamp=1775025604499.5), DONE),
    "time true": (update(timestamp=True), DONE),
    "time 10^18": (update(timestamp=10**18), DONE),
    "time 10^300": (update(timestamp=1e300), DONE),
    "time 1e400": (b'{"update_type": "bot_started", "timestamp": 1e400, "user": {"user_id": 9}}', DONE),
    "time an array": (update(timestamp=[1]), DONE),
    # Messages
    "message a string": (json.dumps({"update_type": "message_created", "message": "x"}).encode(), DONE),
    "sender a string": (message(sender="x"), QUARANTINED),
    "body a string": (message(body="x"), DONE),
    "mid a number": (message(body={"mid": 5}), DONE),
    "mid a surrogate": (message(body={"mid": "\ud800"}), DONE),
    "recipient an array": (message(recipient=[]), DONE),
    "attachments an object": (message(body={"mid": "m", "attachments": {}}), DONE),
    "attachments of nulls": (message(body={"mid": "m", "attachments": [None, 1, "x", {}]}), DONE),
    "contact of numbers": (
        message(body={"mid": "m", "attachments": [{"type": "contact", "payload": {"vcf_info": 1, "hash": 2}}]}),
        DONE,
    ),
    "command of NULs": (
        message(recipient={"chat_type": "dialog"}, body={"mid": "m", "text": "/имя \0\0"}),
        DONE,
    ),
}

REQUESTS: dict[str, tuple[dict[str, Any], int]] = {
    "GET": ({"method": "GET"}, 405),
    "method of our own": ({"method": "BREW"}, 405),
    "gzip": ({"body": b"\x1f\x8b", "content_encoding": "gzip"}, 415),
    "two encodings": ({"body": update(), "content_encoding": "gzip, identity"}, 415),
    "form": ({"body": b"a=b", "content_type": "application/x-www-form-urlencoded"}, 415),
    "multipart": ({"body": b"--x", "content_type": "multipart/form-data; boundary=x"}, 415),
    "form type around JSON": ({"body": update(), "content_type": "Application/X-WWW-Form-Urlencoded"}, 200),
    "no type": ({"body": update(), "content_type": ""}, 200),
    "wild type": ({"body": update(), "content_type": "\x00/\xff"}, 200),
    "too large": ({"body": b"x" * (LARGEST_BODY + 1)}, 413),
    "too large, chunked": ({"chunked": Protocol([b"x" * (LARGEST_BODY + 1)])}, 413),
    "100 MB, chunked": ({"chunked": Protocol([bytes(1000)] * 100_000)}, 413),
    "empty, chunked": ({"chunked": Protocol([])}, 200),
    "good, chunked": ({"chunked": Protocol([update()])}, 200),
}


def good_update_works() -> None:
    assert send(GOOD).status == 200
    process_inbox()
    assert Profile.objects.get(user_id="7").first_name == "Я"


def test_there_are_enough_cases() -> None:
    assert len(BODIES) + len(REQUESTS) >= 70


@pytest.mark.parametrize("part", range(4))
def test_a_hostile_body_is_stored_without_harm(part: int) -> None:
    for name, (body, state) in list(BODIES.items())[part::4]:
        assert send(body).status == 200, name
        process_inbox()
        stored = InboxUpdate.objects.get()
        assert (stored.state, bool(stored.reason)) == (state, state == QUARANTINED), name
        assert stored.tries == 0, name
        good_update_works()
        InboxUpdate.objects.all().delete()
        Profile.objects.all().delete()


@pytest.mark.parametrize("name", REQUESTS)
def test_a_hostile_request_gets_its_status(name: str) -> None:
    request, status = REQUESTS[name]
    reply: Reply = send(**request)
    assert reply.status == status
    assert InboxUpdate.objects.count() == (status == 200)
    process_inbox()
    good_update_works()


def test_a_time_ahead_does_not_block_later_updates() -> None:
    send(update(timestamp=10**13, user={"user_id": 7, "first_name": "Из будущего"}))
    process_inbox()
    send(GOOD | {"timestamp": 4_000_000_000_000, "user": {"user_id": 7, "first_name": "Позже"}})
    process_inbox()
    assert Profile.objects.get(user_id="7").first_name == "Позже"
