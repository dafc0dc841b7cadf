"""Parse the updates that MAX sends as JSON: type, sender and the sender's names (docs/reference/max-api.md).

No other module depends on the format of updates. Unused fields are ignored, and the only required field of a person is
the MAX ID, because MAX adds and removes fields without notice.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from django.utils.translation import gettext_noop as _

from profiles import names
from profiles.merge import ProfileUpdate, TimestampedValue
from profiles.models import PhoneLink
from profiles.user_ids import user_id_of
from webhooks.inbox import DUPLICATE_WINDOW
from webhooks.models import CLOCK_TOLERANCE, OTHER
from webhooks.payloads import contacts
from webhooks.payloads.bot_commands import name_given_in

LARGEST_ENVELOPE = 100
# Python refuses to convert longer integers by default.
_MOST_DIGITS = 4300
_NOT_AN_OBJECT = _("the body is not a JSON object")
_AN_ENVELOPE = _("the body is a batch of updates instead of one update")
_NOT_JSON, _TOO_DEEP = _("the body is not JSON"), _("the body is nested too deeply")
_REPEATED = _("“updates” is repeated")
# Reasons that the previous release stored: they are translated until their updates are deleted.
_FORMER_REASONS = (_("the body is not an object"), _("the user is not an object"))
# The update types that MAX documents. A subscription lists all of them.
UPDATE_TYPES = (
    "message_created", "message_edited", "message_removed", "message_callback",
    "comment_created", "comment_edited", "comment_removed",
    "bot_added", "bot_removed", "bot_started", "bot_stopped", "bot_admin_permissions_changed",
    "user_added", "user_removed", "chat_title_changed",
    "dialog_cleared", "dialog_muted", "dialog_unmuted", "dialog_removed",
)  # fmt: skip
_PERSON_PATHS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(UPDATE_TYPES, ("user",)),
    **dict.fromkeys(("message_created", "message_edited", "comment_created", "comment_edited"), ("message", "sender")),
    # The message was sent by the bot; the person is the user who pressed its button.
    "message_callback": ("callback", "user"),
    # Types from the migration guide, which MAX never sends.
    "message_new": ("message", "from"),
    "callback_query": ("callback_query", "user"),
}
TYPES = (*sorted(_PERSON_PATHS), OTHER)

Json = dict[str, Any]


class MalformedUpdate(ValueError):
    """Raised for a body that is not a valid update; the message is the reason, and quotes nothing from the body."""


def parse(body: bytes) -> Any:
    """Return the JSON value of a body. Raise MalformedUpdate for invalid JSON, including NaN and UTF-16."""
    try:
        text = body.decode()
        value, end = _scan(text, 0)
        return value if end == len(text) else _parse_carefully(text)
    except UnicodeDecodeError:
        raise MalformedUpdate(_("the body is not UTF-8")) from None
    except RecursionError:
        raise MalformedUpdate(_TOO_DEEP) from None
    except (StopIteration, ValueError):
        return _parse_carefully(text)


def _parse_carefully(text: str) -> Any:
    """Parse a string that the fast scanner refused because of outer white space, long integers or invalid JSON.

    Raise MalformedUpdate for a string that is not JSON, and for JSON that is nested too deeply.
    """
    try:
        return _careful_decoder.decode(text)
    except RecursionError:
        raise MalformedUpdate(_TOO_DEEP) from None
    except ValueError:
        raise MalformedUpdate(_NOT_JSON if text.strip() else _("the body is empty")) from None


def _finite(number: str) -> float | None:
    """Parse a number; return None if it is too large for a float, because JSON cannot represent infinity."""
    value = float(number)
    return value if math.isfinite(value) else None


def _bounded(digits: str) -> int | None:
    """Parse an integer; return None if it has too many digits for Python to convert."""
    return int(digits) if len(digits) <= _MOST_DIGITS else None


# For the constants NaN and Infinity, which are not valid JSON, int() raises ValueError.
_careful_decoder = json.JSONDecoder(parse_constant=int, parse_float=_finite, parse_int=_bounded)
# Called for every integer, _bounded would take a third of the time; int() raises ValueError for one that is too long.
_decoder = json.JSONDecoder(parse_constant=int, parse_float=_finite)
_scan: Callable[[str, int], tuple[Any, int]] = _decoder.scan_once  # type: ignore[attr-defined]


class Item(NamedTuple):
    """An update with its JSON as bytes; ``reason`` is the reason for quarantining it, or ``""``."""

    body: bytes
    update: Json
    reason: str = ""


def unwrap(body: bytes) -> list[Item]:
    """Return the updates in a body. The body is an update, or an envelope with a list of updates, as in long polling.

    Raise MalformedUpdate for any other body, and for an envelope with more than LARGEST_ENVELOPE updates. A malformed
    item of an envelope gets a reason and does not affect the other items.
    """
    try:
        return _unwrap(body, parse(body))
    except (MalformedUpdate, RecursionError) as error:
        # An item that is nested almost too deeply can be parsed, but not written.
        reason = error if isinstance(error, MalformedUpdate) else MalformedUpdate(_TOO_DEEP)
    if str(reason) != _REPEATED and (items := _broken_envelope(body)):
        return items
    raise reason


def _unwrap(body: bytes, value: object) -> list[Item]:
    if not isinstance(value, dict):
        raise MalformedUpdate(_NOT_AN_OBJECT)
    if not _is_envelope(value):
        return [Item(body, value)]
    if _keys.decode(body.decode()).count("updates") > 1:
        raise MalformedUpdate(_REPEATED)
    updates = value["updates"]
    if not isinstance(updates, list):
        raise MalformedUpdate(_("“updates” is not a list of objects"))
    if len(updates) > LARGEST_ENVELOPE:
        raise MalformedUpdate(_("the envelope holds more than 100 updates"))
    return [_item(json.dumps(update).encode(), update) for update in updates]


def _item(body: bytes, update: object) -> Item:
    if not isinstance(update, dict):
        return Item(body, {}, _NOT_AN_OBJECT)
    return Item(body, update, _AN_ENVELOPE if _is_envelope(update) else "")


# Returns the keys of an object, also those of which a decoder keeps only the last value. The numbers have been checked.
_keys = json.JSONDecoder(object_pairs_hook=lambda pairs: [key for key, _value in pairs], parse_float=str, parse_int=str)
_LIST_BEGINS = re.compile(rb"\s*:\s*\[")
# What separates items: brackets and commas outside of strings, and the opening quotation mark of a string without end.
_SEPARATOR = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|([][{},"])', re.DOTALL)


def _broken_envelope(body: bytes) -> list[Item]:
    """Return the items of an envelope that cannot be parsed as a whole; an empty list if the body is no envelope.

    Matching brackets separate the items. From the first mismatch on, the rest of the body is one malformed item:
    anything in it that looks like an update may be part of a message's text.
    """
    begin = _list_begin(body)
    if not begin:
        return []
    parts, rest = _split(body[begin:])
    parts = [part for part in parts if part.strip()]
    frame, ending = _parsed(body[:begin] + b"]}").update, _parsed(b'{"updates": [' + (rest or b"]}")).update
    is_envelope = all(part.get("updates") == [] and _is_envelope(part) for part in (frame, ending or frame))
    if not is_envelope or len(parts) > LARGEST_ENVELOPE:
        return []
    items = [_parsed(part) for part in parts]
    return items if ending else [*items, Item(rest, {}, _NOT_JSON)]


def _list_begin(body: bytes) -> int:
    """Return the position after the bracket that opens the list of an envelope; 0 if there is none."""
    opened: list[bytes] = []
    for found in _SEPARATOR.finditer(body):
        is_key = opened == [b"{"] and found[0] == b'"updates"'
        if is_key and (begin := _LIST_BEGINS.match(body, found.end())):
            return begin.end()
        if found[1] in (b"[", b"{"):
            opened.append(found[1])
        elif _ends(found[1], opened):
            break
    return 0


def _ends(sign: bytes | None, opened: list[bytes]) -> bool:
    """Return whether ``sign`` ends the search: a bracket that closes nothing, or the first quote of an unclosed string.

    If the sign closes a bracket, remove that bracket from ``opened``.
    """
    return sign == b'"' or (sign in (b"]", b"}") and (not opened or opened.pop() + sign not in (b"[]", b"{}")))


def _split(text: bytes) -> tuple[list[bytes], bytes]:
    """Return the items of a list, and the text from the list's closing bracket on (``b""`` if that is missing)."""
    opened: list[bytes] = []
    parts, start = [], 0
    for found in _SEPARATOR.finditer(text):
        sign = found[1]
        if sign in (b"[", b"{"):
            opened.append(sign)
        elif sign == b"," and not opened:
            parts.append(text[start : found.start()])
            start = found.end()
        elif sign == b"]" and not opened:
            return [*parts, text[start : found.start()]], text[found.start() :]
        elif _ends(sign, opened):
            break
    return [*parts, text[start:]], b""


def _parsed(body: bytes) -> Item:
    try:
        update = parse(body)
        return _item(json.dumps(update).encode(), update)
    except MalformedUpdate as error:
        return Item(body.strip(), {}, str(error))
    except RecursionError:
        return Item(body.strip(), {}, _TOO_DEEP)


def _is_envelope(value: Json) -> bool:
    return "updates" in value and "update_type" not in value


def parse_stored(body: bytes) -> Json:
    """Parse the body of an inbox row, which is one update; raise MalformedUpdate for any other body.

    A replay of a quarantined row may pass a body that is not valid JSON, or a whole envelope.
    """
    items = unwrap(body)
    if [item.body for item in items] != [body]:
        raise MalformedUpdate(_AN_ENVELOPE)
    return items[0].update


def type_of(update: Json) -> str:
    """Return the type of an update, or ``other`` if it is unknown, so that the number of metric labels is bounded."""
    given = update.get("update_type", update.get("type"))
    return given if isinstance(given, str) and given in _PERSON_PATHS else OTHER


def duplicate_keys(update: Json, body: bytes, received_at: datetime) -> tuple[bytes, bytes | None]:
    """Return a key of 32 bytes that is the same for every delivery of an update, and a second key or None.

    MAX sends no update ID, so the key is a hash of the fields that identify the update. If one of them is missing, the
    key is a hash of the body and the current ten-minute window; the second key is that hash for the previous window.
    """
    kind = type_of(update)
    parts = _KEY_PARTS.get(kind, _event_parts)(update)
    name = _text(update.get("update_type")) if kind == OTHER else kind
    if name is None or None in parts:
        window = int(received_at.timestamp() // DUPLICATE_WINDOW.total_seconds())
        key, previous = (hashlib.sha256(b"body\0%d\0" % number + body).digest() for number in (window, window - 1))
        return key, previous
    text = "\0".join([name, *map(str, parts)])
    return hashlib.sha256(text.encode(errors="surrogatepass")).digest(), None


def _value(holder: object, *path: str) -> Any:
    """Return the value at a path in nested objects; None if there is no such path."""
    for field in path:
        holder = holder.get(field) if isinstance(holder, dict) else None
    return holder


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def _integer(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _event_parts(update: Json) -> tuple[object, ...]:
    user = update.get("user")
    user_id = (user if isinstance(user, dict) and "user_id" in user else update).get("user_id")
    return _integer(update.get("chat_id")), _integer(user_id), _integer(update.get("timestamp"))


def _message_parts(update: Json) -> tuple[object, ...]:
    return (_text(_value(update, "message", "body", "mid")),)


_KEY_PARTS: dict[str, Callable[[Json], tuple[object, ...]]] = {
    **dict.fromkeys(("message_created", "comment_created"), _message_parts),
    **dict.fromkeys(
        ("message_edited", "comment_edited"),
        lambda update: (*_message_parts(update), _integer(update.get("timestamp"))),
    ),
    **dict.fromkeys(("message_removed", "comment_removed"), lambda update: (_text(update.get("message_id")),)),
    **dict.fromkeys(("message_new", "callback_query"), lambda _update: (None,)),
    "message_callback": lambda update: (
        _text(_value(update, "callback", "callback_id")),
        _integer(_value(update, "callback", "timestamp")),
    ),
}


@dataclass(frozen=True, slots=True)
class Reading:
    """The data extracted from an update: the sender's MAX ID (``""`` if unknown), the names, and a shared phone."""

    user_id: str
    profile_update: ProfileUpdate | None = None
    phone_link: PhoneLink | None = None


def read(update: Json, received_at: datetime) -> Reading:
    """Extract the data from an update; raise MalformedUpdate if it contains a user without a valid MAX ID.

    For a bot, only the ID is returned.
    """
    user = _value(update, *_PERSON_PATHS.get(type_of(update), ("user",)))
    if user is None:
        try:
            return Reading(user_id_of(update.get("user_id")))
        except ValueError:
            return Reading("")
    if not isinstance(user, dict):
        raise MalformedUpdate(_("the user is not a JSON object"))
    try:
        user_id = user_id_of(user.get("user_id"))
    except ValueError:
        raise MalformedUpdate(_("invalid MAX user ID")) from None
    if user.get("is_bot") is True:
        return Reading(user_id)
    profile_update = _profile_update(user_id, user, update, received_at)
    phone_link = _phone_link(user_id, update, received_at)
    return Reading(user_id, profile_update if profile_update.has_values else None, phone_link)


def _profile_update(user_id: str, user: Json, update: Json, received_at: datetime) -> ProfileUpdate:
    at = moment_of(update, received_at)
    first_name, derived_name = _cleaned(user.get("first_name")), _cleaned(user.get("name"))
    last_name = "" if user.get("last_name") == "" else _cleaned(user.get("last_name"))
    own_name = name_given_in(_dialog_text(update))
    any_name = first_name or derived_name
    return ProfileUpdate(
        user_id,
        received_at,
        first_name=TimestampedValue(first_name is not None, at, any_name) if any_name else None,
        last_name=None if last_name is None else TimestampedValue(True, at, last_name),
        user_provided_name=TimestampedValue(True, at, own_name) if own_name else None,
    )


def _cleaned(value: object) -> str | None:
    return (names.clean(value) or None) if isinstance(value, str) else None


def moment_of(update: Json, received_at: datetime) -> datetime:
    """Return the update's timestamp, or the time of receipt if the timestamp is missing, invalid or in the future.

    A timestamp up to five minutes ahead of the time of receipt is accepted.
    """
    milliseconds = update.get("timestamp")
    if isinstance(milliseconds, bool) or not isinstance(milliseconds, int | float):
        return received_at
    latest = (received_at + CLOCK_TOLERANCE).timestamp() * 1000
    if not 0 <= milliseconds <= latest:
        return received_at
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=milliseconds)


def _dialog_text(update: Json) -> str:
    """Return the text of a message in a dialog with the bot; ``""`` for group chats, channels and other updates."""
    kind, message = type_of(update), update.get("message")
    if kind == "message_new":
        chat = _value(message, "chat")
        is_dialog = chat in (None, {}) or _value(chat, "type") in ("private", "dialog")
        text = _value(message, "text")
    else:
        is_dialog = _value(message, "recipient", "chat_type") == "dialog"
        text = _value(message, "body", "text") if kind in ("message_created", "message_edited") else None
    return text if is_dialog and isinstance(text, str) else ""


def _phone_link(user_id: str, update: Json, received_at: datetime) -> PhoneLink | None:
    """Return a link between the sender and their phone if the message shares the sender's own contact; else None."""
    if type_of(update) != "message_created":
        return None
    attachments = _value(update, "message", "body", "attachments")
    for attachment in attachments if isinstance(attachments, list) else ():
        payload = _value(attachment, "payload")
        if isinstance(payload, dict) and attachment.get("type") == "contact":
            phone = contacts.own_phone(payload, user_id)
            if phone:
                return PhoneLink(phone=phone, user_id=user_id, observed_at=moment_of(update, received_at))
    return None
