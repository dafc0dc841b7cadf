"""Shared contacts: whether a contact card is the sender's own, and the phone on it (docs/reference/max-api.md)."""

import hashlib
import hmac
import re
from typing import Any

from django.conf import settings

from profiles import phones
from profiles.user_ids import user_id_of

_PHONE_LINE = re.compile(r"^(?:item\d+\.)?TEL[^:\r\n]*:(?:tel:)?([^\r\n]+)", re.IGNORECASE | re.MULTILINE)


def own_phone(payload: dict[str, Any], sender_id: str) -> str | None:
    """Return the canonical phone of a contact attachment that is verifiably the sender's, else None.

    MAX signs a card with the bot's token when its owner shares it; a card of anybody else has no such hash.
    """
    card, signature, owner = payload.get("vcf_info"), payload.get("hash"), payload.get("max_info")
    if not isinstance(card, str) or not isinstance(signature, str) or not settings.MAX_BOT_TOKEN:
        return None
    unescaped = card.replace("\\r", "\r").replace("\\n", "\n")
    if not any(_is_signed(text, signature) for text in (card, unescaped)):
        return None
    if owner is not None and not (isinstance(owner, dict) and is_id(owner.get("user_id"), sender_id)):
        return None
    for number in _PHONE_LINE.findall(unescaped):
        # A foreign number may lack its plus.
        for spelling in (number, f"+{number.strip().lstrip('+')}"):
            try:
                return phones.normalize(spelling)
            except ValueError:
                continue
    return None


def is_id(value: object, user_id: str) -> bool:
    """Return whether a value from outside is this MAX user id, in either spelling."""
    try:
        return user_id_of(value) == user_id
    except ValueError:
        return False


def _is_signed(card: str, signature: str) -> bool:
    expected = hmac.new(settings.MAX_BOT_TOKEN.encode(), card.encode(errors="replace"), hashlib.sha256).hexdigest()
    return hmac.compare_digest(expected.encode(), signature.encode(errors="replace"))
