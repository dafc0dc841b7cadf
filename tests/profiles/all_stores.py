"""A person with data in every store, and a search for what remains."""

import hashlib
import hmac
import json
import secrets
from collections.abc import Iterator
from typing import Any

from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.auth.models import User
from django.contrib.contenttypes.models import ContentType
from django.db import connection
from django.utils import timezone
from redis import Redis
from rest_framework.test import APIClient

from employees.backfill import batches
from employees.models import Employee, University, UnresolvedName
from profiles.comparison import compare
from profiles.models import DirectAnswer, WaitingComparison
from tests.profiles.people import add_profile
from webhooks.models import InboxUpdate, State
from webhooks.processing import process_inbox

ID, PHONE = "4815162342", "+79165550142"
# No other row has these names.
FIRST, LAST, OWN = "Аполлинария", "Заиграева", "Поленька"
TOKEN = "bot-token"


def add_update(update: dict[str, Any], state: str = State.PENDING, **fields: Any) -> InboxUpdate:
    """Store an update in the inbox, new or already processed."""
    now = timezone.now()
    body = json.dumps(update, ensure_ascii=False).encode()
    return InboxUpdate.objects.create(
        dedup_key=secrets.token_bytes(32),
        body=body,
        update_type="message_created",
        state=state,
        received_at=now,
        next_try_at=now,
        finished_at=None if state == State.PENDING else now,
        **fields,
    )


def message(user_id: int = int(ID), first_name: str = FIRST, at: Any = None, **more: Any) -> dict[str, Any]:
    at = at or timezone.now()
    sender = {"user_id": user_id, "first_name": first_name, "last_name": LAST}
    return {
        "update_type": "message_created",
        "timestamp": int(at.timestamp() * 1000),
        "message": {"sender": sender, "body": {"mid": f"{user_id}-{at}"}} | more,
    }


def person_in_all_stores(university: University, api: APIClient) -> Employee:
    """Store data of one person in every store; the bot token must be TOKEN."""
    card = f"BEGIN:VCARD\r\nTEL:{PHONE}\r\nFN:{FIRST} {LAST}\r\nEND:VCARD"
    signature = hmac.new(TOKEN.encode(), card.encode(), hashlib.sha256).hexdigest()
    contact = {"type": "contact", "payload": {"vcf_info": card, "hash": signature}}
    add_update(message(body={"mid": "c", "attachments": [contact]}))
    process_inbox()
    add_profile(ID, FIRST, LAST, OWN)
    employee = Employee.objects.create(phone=PHONE, max_id=ID, university=university)
    run = batches.start()
    while batches.run_batch(run):
        pass
    body = {"phone": "+12025550142", "max_id": ID, "university_id": university.pk}
    assert api.post("/employees", body, format="json", headers={"Idempotency-Key": "k"}).json()["first_name"] == OWN
    UnresolvedName.objects.create(employee=employee, next_try_at=timezone.now())
    DirectAnswer.objects.create(
        phone=PHONE, user_id=ID, first_name=FIRST, last_name=LAST, asked_at=timezone.now(), outcome="found"
    )
    waiting = WaitingComparison(
        phone=PHONE, max_id=ID, stage=3, served_source="api", served_ms=1, api_name=f"{FIRST} {LAST}"
    )
    compare(waiting).save()
    waiting.save()
    employee.refresh_from_db()
    LogEntry.objects.create(
        user=User.objects.get(username="root"),
        content_type=ContentType.objects.get_for_model(Employee),
        object_id=str(employee.pk),
        object_repr=str(employee),
        action_flag=CHANGE,
    )
    add_update(message(), State.DEAD, error=f"ValueError: {FIRST}")
    add_update(message(), State.SKIPPED)
    add_update(message(9, "Олег", link={"sender": {"user_id": int(ID), "first_name": FIRST}}), State.DONE)
    add_update(message(), State.PENDING)
    InboxUpdate.objects.create(
        dedup_key=b"q",
        body=f'{{"user_id": {ID}, "name": "{FIRST}"'.encode(),
        update_type="other",
        state=State.QUARANTINED,
        received_at=timezone.now(),
        next_try_at=timezone.now(),
        finished_at=timezone.now(),
    )
    return employee


def dump(redis: Redis) -> Iterator[tuple[str, str]]:
    """Yield every value of every table and of Redis, as text."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = current_schema()::regnamespace"
        )
        for (table,) in cursor.fetchall():
            cursor.execute(f'SELECT * FROM "{table}"')  # noqa: S608 (our own tables)
            for row in cursor.fetchall():
                for value in row:
                    is_binary = isinstance(value, memoryview | bytes)
                    yield table, bytes(value).decode(errors="replace") if is_binary else str(value)
    for key in redis.scan_iter():
        yield "redis", f"{key!r} {_redis_value(redis, key)}"


def _redis_value(redis: Redis, key: bytes) -> str:
    match redis.type(key):
        case b"string":
            value = redis.get(key)
            assert isinstance(value, bytes)
            return value.decode()
        case b"hash":
            return str(redis.hgetall(key))
        case b"zset":
            return str(redis.zrange(key, 0, -1))
    raise NotImplementedError(redis.type(key))


def places(redis: Redis, *words: str) -> set[str]:
    escaped = [json.dumps(word)[1:-1] for word in words]
    return {place for place, text in dump(redis) if any(word in text for word in (*words, *escaped))}


ALL_STORES = {
    "profile_cache",
    "employees",
    "employee_history_historicalemployee",
    "backfill_batches",
    "idempotent_requests",
    "direct_answers",
    "comparisons_waiting",
    "django_admin_log",
    "webhook_inbox",
    "redis",
}
