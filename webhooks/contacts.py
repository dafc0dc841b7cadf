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

    The messenger signs a card with the bot's token when its owner shares it; a card of anybody else has no such hash.
    """
    card, given_hash = payload.get("vcf_info"), payload.get("hash")
    if not isinstance(card, str) or not isinstance(given_hash, str) or not settings.MAX_BOT_TOKEN:
        return None
    unescaped = card.replace("\\r", "\r").replace("\\n", "\n")
    if not any(_is_signed(text, given_hash) for text in (card, unescaped)) or not _is_of(payload, sender_id):
        return None
    return next((phone for line in _PHONE_LINE.findall(unescaped) if (phone := _canonical(line))), None)


def _is_signed(card: str, given_hash: str) -> bool:
    signature = hmac.new(settings.MAX_BOT_TOKEN.encode(), card.encode(errors="replace"), hashlib.sha256).hexdigest()
    return hmac.compare_digest(signature.encode(), given_hash.encode(errors="replace"))


def _is_of(payload: dict[str, Any], sender_id: str) -> bool:
    owner = payload.get("max_info")
    if owner is None:
        return True
    try:
        return isinstance(owner, dict) and user_id_of(owner.get("user_id")) == sender_id
    except ValueError:
        return False


def _canonical(spelling: str) -> str | None:
    """Read a card's number, which may lack its plus."""
    for text in (spelling, f"+{spelling.strip().lstrip('+')}"):
        try:
            return phones.normalize(text)
        except ValueError:
            continue
    return None
