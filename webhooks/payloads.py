"""Read MAX's JSON: what an update is, who is in it, and their names (docs/reference/max-api.md).

No other module knows MAX's JSON. Unused fields are ignored, and only the id of a person is required, because MAX adds
and drops fields without notice.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, NoReturn

from django.utils.translation import gettext_noop as _

from profiles import names
from profiles.merge import ProfileUpdate, TimestampedValue
from profiles.models import PhoneLink
from profiles.user_ids import user_id_of
from webhooks import contacts
from webhooks.bot_commands import name_given_in
from webhooks.inbox import DUPLICATE_WINDOW
from webhooks.models import OTHER

LARGEST_ENVELOPE = 100
_FUTURE_ALLOWED = timedelta(minutes=5)

Json = dict[str, Any]


class MalformedUpdate(ValueError):
    """The body is no update; its text says why, in English (InboxUpdate.display_reason), without quoting the body."""


# Bodies


def parse(body: bytes) -> Any:
    """Return the JSON value of a body; raise MalformedUpdate for what is none, NaN and UTF-16 included."""
    if not body.strip():
        raise MalformedUpdate(_("the body is empty"))
    try:
        return _decoder.decode(body.decode())
    except UnicodeDecodeError:
        raise MalformedUpdate(_("the body is not UTF-8")) from None
    except RecursionError:
        raise MalformedUpdate(_("the body is nested too deeply")) from None
    except ValueError:
        raise MalformedUpdate(_("the body is not JSON")) from None


def _finite(number: str) -> float | None:
    """Read a number; one beyond all floats says nothing (and as Infinity it would be no JSON when written again)."""
    value = float(number)
    return value if math.isfinite(value) else None


def _refuse_constant(constant: str) -> NoReturn:
    raise ValueError(constant)


# Once: json.loads with options makes a decoder each time, a quarter of its work on a body of usual size.
_decoder = json.JSONDecoder(parse_constant=_refuse_constant, parse_float=_finite)


def unwrap(body: bytes) -> list[tuple[bytes, Json]]:
    """Return each update of a body with its own bytes; raise MalformedUpdate where there is none.

    A body is one update, or the envelope of long polling with at most 100.
    """
    value = parse(body)
    if not isinstance(value, dict):
        raise MalformedUpdate(_("the body is not an object"))
    if "updates" not in value or "update_type" in value:
        return [(body, value)]
    updates = value["updates"]
    if not isinstance(updates, list) or not all(isinstance(update, dict) for update in updates):
        raise MalformedUpdate(_("“updates” is not a list of objects"))
    if len(updates) > LARGEST_ENVELOPE:
        raise MalformedUpdate(_("the envelope holds more than 100 updates"))
    return [(json.dumps(update).encode(), update) for update in updates]


def parse_stored(body: bytes) -> Json:
    """Return the one update of a row; raise MalformedUpdate for what was kept whole, which a replay brings back."""
    unwrapped = unwrap(body)
    if [own_body for own_body, _update in unwrapped] != [body]:
        raise MalformedUpdate(_("the body is an envelope of updates"))
    return unwrapped[0][1]


# Recognising a repeat


def type_of(update: Json) -> str:
    """Return the type when it is one that we know, ``other`` when not: labels from outside stay bounded."""
    given = update.get("update_type", update.get("type"))
    return given if isinstance(given, str) and given in _PEOPLE else OTHER


def duplicate_keys(update: Json, body: bytes, received_at: datetime) -> tuple[bytes, bytes | None]:
    """Return 32 bytes that are equal for two deliveries of one update; there is no update id.

    Where a part of the key is absent the body is the key, within a window of ten minutes; the second value is then the
    key that it had in the window before, else None.
    """
    kind = type_of(update)
    parts = _DUPLICATE_PARTS.get(kind, _event_parts)(update)
    name = _text(update.get("update_type")) if kind == OTHER else kind
    if name is None or any(part is None for part in parts):
        window = int(received_at.timestamp() // DUPLICATE_WINDOW.total_seconds())
        return _body_key(body, window), _body_key(body, window - 1)
    text = "\0".join([name, *map(str, parts)])
    return hashlib.sha256(text.encode(errors="surrogatepass")).digest(), None


def _body_key(body: bytes, window: int) -> bytes:
    return hashlib.sha256(b"body\0%d\0" % window + body).digest()


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def _integer(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _object(holder: Json, field: str) -> Json:
    value = holder.get(field)
    return value if isinstance(value, dict) else {}


def _mid(update: Json) -> str | None:
    return _text(_object(_object(update, "message"), "body").get("mid"))


def _callback_parts(update: Json) -> list[object]:
    callback = _object(update, "callback")
    return [_text(callback.get("callback_id")), _integer(callback.get("timestamp"))]


def _event_parts(update: Json) -> list[object]:
    person = _object(update, "user").get("user_id", update.get("user_id"))
    return [_integer(update.get("chat_id")), _integer(person), _integer(update.get("timestamp"))]


_DUPLICATE_PARTS: dict[str, Callable[[Json], list[object]]] = {
    "message_created": lambda update: [_mid(update)],
    "comment_created": lambda update: [_mid(update)],
    "message_edited": lambda update: [_mid(update), _integer(update.get("timestamp"))],
    "comment_edited": lambda update: [_mid(update), _integer(update.get("timestamp"))],
    "message_callback": _callback_parts,
    "message_removed": lambda update: [_text(update.get("message_id"))],
    "comment_removed": lambda update: [_text(update.get("message_id"))],
    "message_new": lambda _: [None],
    "callback_query": lambda _: [None],
}


# The person


def _sender(update: Json) -> object:
    return _object(update, "message").get("sender")


def _presser(update: Json) -> object:
    """A callback's ``message.sender`` is the bot; who pressed the button is in ``callback``."""
    return _object(update, "callback").get("user")


def _user(update: Json) -> object:
    return update.get("user")


_PEOPLE: dict[str, Callable[[Json], object]] = {
    "message_created": _sender,
    "message_edited": _sender,
    "comment_created": _sender,
    "comment_edited": _sender,
    "message_callback": _presser,
    "message_removed": _user,
    "comment_removed": _user,
    "bot_added": _user,
    "bot_removed": _user,
    "bot_started": _user,
    "bot_stopped": _user,
    "bot_admin_permissions_changed": _user,
    "user_added": _user,
    "user_removed": _user,
    "chat_title_changed": _user,
    "dialog_cleared": _user,
    "dialog_muted": _user,
    "dialog_unmuted": _user,
    "dialog_removed": _user,
    # The shape of the migration guide, which MAX never sends.
    "message_new": lambda update: _object(update, "message").get("from"),
    "callback_query": lambda update: _object(update, "callback_query").get("user"),
}
TYPES = (*sorted(_PEOPLE), OTHER)


@dataclass(frozen=True, slots=True)
class Reading:
    """What an update means to us: whom it is from (``""`` when nobody), what it says of them, and their own phone."""

    user_id: str
    profile_update: ProfileUpdate | None = None
    phone_link: PhoneLink | None = None


def read(update: Json, received_at: datetime) -> Reading:
    """Interpret one update; raise MalformedUpdate when it holds a person who has no usable id."""
    user = _PEOPLE.get(type_of(update), _user)(update)
    if user is None:
        return Reading(_bare_user_id(update))
    if not isinstance(user, dict):
        raise MalformedUpdate(_("the user is not an object"))
    try:
        user_id = user_id_of(user.get("user_id"))
    except ValueError:
        raise MalformedUpdate(_("the user’s id is none of MAX")) from None
    if user.get("is_bot") is True:
        return Reading(user_id)
    profile_update = _profile_update(user_id, user, update, received_at)
    return Reading(
        user_id, profile_update if profile_update.has_values else None, _phone_link(user_id, update, received_at)
    )


def _bare_user_id(update: Json) -> str:
    try:
        return user_id_of(update.get("user_id"))
    except ValueError:
        return ""


def _profile_update(user_id: str, user: Json, update: Json, received_at: datetime) -> ProfileUpdate:
    said_at = moment_of(update, received_at)
    first_name = _cleaned(user.get("first_name"))
    derived_name = _cleaned(user.get("name"))
    last_name = "" if user.get("last_name") == "" else _cleaned(user.get("last_name"))
    own_name = name_given_in(_dialog_text(update))
    return ProfileUpdate(
        user_id,
        received_at,
        first_name=TimestampedValue(True, said_at, first_name)
        if first_name
        else (TimestampedValue(False, said_at, derived_name) if derived_name else None),
        last_name=None if last_name is None else TimestampedValue(True, said_at, last_name),
        user_provided_name=TimestampedValue(True, said_at, own_name) if own_name else None,
    )


def _cleaned(value: object) -> str | None:
    return (names.clean(value) or None) if isinstance(value, str) else None


def moment_of(update: Json, received_at: datetime) -> datetime:
    """Return the update's own time; the time of receipt when it has none or claims to come from the future."""
    milliseconds = update.get("timestamp")
    if isinstance(milliseconds, bool) or not isinstance(milliseconds, int | float):
        return received_at
    latest = (received_at + _FUTURE_ALLOWED).timestamp() * 1000
    if not 0 <= milliseconds <= latest:
        return received_at
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=milliseconds)


def _dialog_text(update: Json) -> str:
    """Return the text of a message in a dialog with the bot; ``""`` in group chats and channels."""
    kind = type_of(update)
    message = _object(update, "message")
    if kind == "message_new":
        is_dialog = _object(message, "chat").get("type") in ("private", "dialog")
        text = message.get("text")
    else:
        is_dialog = kind in ("message_created", "message_edited") and (
            _object(message, "recipient").get("chat_type") == "dialog"
        )
        text = _object(message, "body").get("text")
    return text if is_dialog and isinstance(text, str) else ""


# A shared contact


def _phone_link(user_id: str, update: Json, received_at: datetime) -> PhoneLink | None:
    """Return the sender's own phone when the message shares it; somebody else's contact links nobody."""
    if type_of(update) != "message_created":
        return None
    attachments = _object(_object(update, "message"), "body").get("attachments")
    for attachment in attachments if isinstance(attachments, list) else ():
        if isinstance(attachment, dict) and attachment.get("type") == "contact":
            phone = contacts.own_phone(_object(attachment, "payload"), user_id)
            if phone:
                return PhoneLink(phone=phone, user_id=user_id, observed_at=moment_of(update, received_at))
    return None
