"""The updates that MAX sends about a person of the demo (docs/reference/max-api.md)."""

from datetime import datetime
from typing import Any

from config.dev.demo.people import Person


def update_of(
    who: Person, kind: str, at: datetime, serial: str, *, text: str = "", name: tuple[str, str] | None = None
) -> dict[str, Any]:
    """Return an update of type bot_started, message_callback or message_created.

    ``serial`` makes its identifiers unique. ``name`` replaces the person's name in MAX.
    """
    first, last = name or who.account or (who.first_name, who.last_name)
    user: dict[str, Any] = {"user_id": int(who.user_id), "first_name": first, "last_name": last, "is_bot": False}
    if who.number % 410 == 0:
        # Some versions of the messenger leave the last name out.
        del user["last_name"]
    timestamp = int(at.timestamp() * 1000)
    if kind == "bot_started":
        return {"update_type": kind, "timestamp": timestamp, "chat_id": 5_000_000 + who.number, "user": user}
    if kind == "message_callback":
        callback = {"callback_id": f"cb.{serial}", "timestamp": timestamp, "payload": "menu", "user": user}
        return {"update_type": kind, "timestamp": timestamp, "callback": callback}
    body = {"mid": f"mid.{serial}", "text": text}
    message = {"sender": user, "recipient": {"chat_type": "dialog"}, "timestamp": timestamp, "body": body}
    return {"update_type": kind, "timestamp": timestamp, "message": message}
