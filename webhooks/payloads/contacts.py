"""Read the sender's phone number from a contact card, if it is the sender's own (docs/reference/max-api.md)."""

import hashlib
import hmac
import logging
import quopri
import re
from typing import Any

from django.conf import settings

from profiles import phones, typed_values

logger = logging.getLogger(__name__)

# A property of a vCard: group, name, parameters, of which quoted ones may contain a colon, and value.
_TEL = re.compile(r'(?:[A-Z0-9-]+\.)?TEL((?:;(?:"[^"]*"|[^":])*)?):(.*)', re.IGNORECASE)
_QUOTED_PRINTABLE = re.compile(r";(?:ENCODING=)?QUOTED-PRINTABLE\b", re.IGNORECASE)
_WAID = re.compile(r";waid=\"?([0-9]+)", re.IGNORECASE)


def own_phone(payload: dict[str, Any], sender_id: str) -> str | None:
    """Return the phone in a contact attachment if the contact is verifiably the sender's own, otherwise None.

    MAX signs a contact card with the bot's token only when people share their own contact; ``hash`` is the signature. A
    signed card must contain exactly one phone, and this phone must be valid; otherwise, the card is refused, and this
    is logged.
    """
    card, owner = _verified(payload), payload.get("max_info")
    if card is None or (owner is not None and not (isinstance(owner, dict) and str(owner.get("user_id")) == sender_id)):
        return None
    found = [tel for line in _unfolded(card) if (tel := _TEL.fullmatch(typed_values.visible(line)))]
    phone = _number(*found[0].groups()) if len(found) == 1 else None
    if phone is None:
        reason = "invalid phone" if len(found) == 1 else f"{len(found)} phones"
        fields = {"component": "webhook_handler", "event": "contact_refused", "user_id": sender_id, "reason": reason}
        logger.warning("contact card not linked", extra=fields)
    return phone


def _verified(payload: dict[str, Any]) -> str | None:
    """Return the text that MAX signed: the card, or the card with unescaped line breaks; None if MAX signed neither."""
    card, signature = payload.get("vcf_info"), payload.get("hash")
    if not isinstance(card, str) or not isinstance(signature, str) or not settings.MAX_BOT_TOKEN:
        return None
    for text in (card, _unescaped(card)):
        own = hmac.new(settings.MAX_BOT_TOKEN.encode(), text.encode(errors="replace"), hashlib.sha256).hexdigest()
        if hmac.compare_digest(own.encode(), signature.encode(errors="replace")):
            return text
    return None


def _unescaped(card: str) -> str:
    r"""Return a card with real line breaks in place of the escaped ones (``\r\n``), if it has no real ones.

    In a card with real line breaks, ``\n`` belongs to a value that people can choose, such as their name.
    """
    return card if "\n" in card else card.replace("\\r", "\r").replace("\\n", "\n")


def _unfolded(card: str) -> list[str]:
    """Return the lines of a vCard, with folded lines joined (RFC 6350, 3.2, and the soft line breaks of vCard 2.1)."""
    lines: list[list[str]] = []
    is_printable = False
    for line in re.split(r"\r\n?|\n", re.sub(r"(?:\r\n?|\n)[ \t]", "", _unescaped(card))):
        if is_printable and lines[-1][-1].endswith("="):
            lines[-1][-1] = lines[-1][-1][:-1]
            lines[-1].append(line)
        else:
            lines.append([line])
            is_printable = _QUOTED_PRINTABLE.search(line.partition(":")[0]) is not None
    return list(map("".join, lines))


def _number(parameters: str, value: str) -> str | None:
    """Return the number in E.164 form; None if it is invalid.

    A signed card contains the number of a MAX account, which is an international number even without a plus sign.
    """
    if _QUOTED_PRINTABLE.search(parameters):
        value = quopri.decodestring(value.encode(errors="replace")).decode(errors="replace")
    if typed_values.has_digits_on_several_lines(value):
        return None
    number = typed_values.bare(value).lower().removeprefix("tel:").partition(";")[0].strip()
    if waid := _WAID.search(parameters):
        number = number if number.startswith("+") else waid[1]
    try:
        return phones.normalize(f"+{number.removeprefix('+')}")
    except ValueError:
        return None
