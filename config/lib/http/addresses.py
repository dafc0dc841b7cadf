"""The address of the client, from the connection or from X-Forwarded-For as written by our own proxies."""

import re
from collections.abc import Mapping
from ipaddress import IPv6Address, ip_address
from typing import Any

from django.conf import settings

# RFC 7239, section 6: an IPv6 address with a port is in brackets, and an unbracketed address with a port has one colon.
_WITH_PORT = re.compile(r"(?:\[(?P<bracketed>[^\[\]]*)\]|(?P<plain>[^:\[\]]*))(?::[^:\[\]]*)?")


def parse_address(text: str) -> str | None:
    """Return the IP address in canonical form without quotes, brackets, port and zone, or None for any other text."""
    text = text.strip().strip('"').strip()
    match = _WITH_PORT.fullmatch(text)
    host = (match["bracketed"] or match["plain"] or "") if match else text
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return str(mapped or address)


def client_address(meta: Mapping[str, Any]) -> str:
    """Return the address of the client, or an empty string if the connection has none (Unix sockets).

    Each proxy appends the address of its client to X-Forwarded-For. Behind N = TRUSTED_PROXIES proxies, the client's
    address is the Nth from the right; the client may have forged the items further left. If that item is not an
    address, the result is the address of the connection.
    """
    items = meta.get("HTTP_X_FORWARDED_FOR", "").split(",")
    proxies = settings.TRUSTED_PROXIES
    forwarded = parse_address(items[-proxies]) if 0 < proxies <= len(items) else None
    return forwarded or parse_address(meta.get("REMOTE_ADDR") or "") or ""
