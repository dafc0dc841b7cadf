"""Shared contacts: whether a contact card is the sender's own, and the phone on it (docs/reference/max-api.md)."""

import hashlib
import hmac
import re
from typing import Any

from django.conf import settings

from profiles import phones

_PHONE_LINE = re.compile(r"^(?:item\d+\.)?TEL[^:\r\n]*:(?:tel:)?([^\r\n]+)", re.IGNORECASE | re.MULTILINE)


def own_phone(payload: dict[str, Any], sender_id: str) -> str | None:
    """Return the canonical phone of a contact attachment that is verifiably the sender's, else None.

    MAX signs a card with the bot's token when its owner shares it; a card of anybody else has no such hash.
    """
    card, signature, owner = payload.get("vcf_info"), payload.get("hash"), payload.get("max_info")
    if not isinstance(card, str) or not isinstance(signature, str) or not settings.MAX_BOT_TOKEN:
        return None
    unescaped = card.replace("\\r", "\r").replace("\\n", "\n")
    key = settings.MAX_BOT_TOKEN.encode()
    hashes = [hmac.new(key, text.encode(errors="replace"), hashlib.sha256).hexdigest() for text in (card, unescaped)]
    if not any(hmac.compare_digest(own.encode(), signature.encode(errors="replace")) for own in hashes):
        return None
    if owner is not None and not (isinstance(owner, dict) and str(owner.get("user_id")) == sender_id):
        return None
    for number in _PHONE_LINE.findall(unescaped):
        # A foreign number may lack its plus.
        for spelling in (number, f"+{number.strip().lstrip('+')}"):
            try:
                return phones.normalize(spelling)
            except ValueError:
                continue
    return None
