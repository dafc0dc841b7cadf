"""Read the sender's phone from a contact card that they share about themselves (docs/reference/max-api.md)."""

import hashlib
import hmac
import re
from typing import Any

from django.conf import settings

from profiles import phones

_PHONE_LINE = re.compile(r"^(?:item\d+\.)?TEL[^:\r\n]*:(?:tel:)?([^\r\n]+)", re.IGNORECASE | re.MULTILINE)


def own_phone(payload: dict[str, Any], sender_id: str) -> str | None:
    """Return the normalized phone from a contact attachment, None unless the contact is verifiably the sender.

    MAX signs a contact card with the bot's token only when people share their own contact. Other cards have no valid
    ``hash``.
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
        # A foreign number may have been written without its leading plus sign.
        for spelling in (number, f"+{number.strip().lstrip('+')}"):
            try:
                return phones.normalize(spelling)
            except ValueError:
                continue
    return None
