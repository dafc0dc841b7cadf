"""Log lines about log-ins, log-outs and refused requests, for administrators (docs/reference/metrics.md).

They contain the user name and address of an account, and nothing about people in the directory.
"""

import logging
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from django.db import DatabaseError
from django.http import HttpRequest, HttpResponse
from django.utils.deprecation import MiddlewareMixin

# The logger's name is the “component” of these lines.
logger = logging.getLogger("access")
_LONGEST = 200
_REFUSALS = (401, 403, 429)


def log(event: str, environ: Mapping[str, Any], user: str, *, level: int = logging.INFO, **fields: Any) -> None:
    """Write a log line; ``environ`` is the request's WSGI environment, with the client's address in REMOTE_ADDR."""
    names = {"address": "REMOTE_ADDR", "method": "REQUEST_METHOD", "path": "PATH_INFO"}
    texts = {name: _printable(str(environ.get(key) or "")) for name, key in names.items()} | {"user": _printable(user)}
    logger.log(level, "%s", event.replace("_", " "), extra={"event": event, **texts, **fields})


def _printable(text: str) -> str:
    """Return at most 200 characters of the text, without control characters that a terminal would interpret."""
    return "".join(character for character in text[:_LONGEST] if character.isprintable())


class RefusalLogMiddleware(MiddlewareMixin):
    def process_response(self, request: HttpRequest, response: HttpResponse) -> HttpResponse:
        if response.status_code in _REFUSALS:
            reason = getattr(response, "refusal_reason", "")
            fields = {"status": response.status_code, **({"reason": reason} if reason else {})}
            log("request_refused", request.META, _user_name(request), level=logging.WARNING, **fields)
        return response


def _user_name(request: HttpRequest) -> str:
    with suppress(DatabaseError):
        user = getattr(request, "key_owner", None) or getattr(request, "user", None)
        return user.get_username() if user else ""
    return ""
