import re
from typing import Any

from django.utils.translation import gettext as _
from rest_framework.exceptions import ParseError
from rest_framework.parsers import JSONParser

_SURROGATE = re.compile(r"[\ud800-\udfff]")


class BoundedJSONParser(JSONParser):
    """JSON as REST framework reads it; a body nested too deeply for Python is the client's error too.

    Half a character, which JSON can spell, becomes U+FFFD: no answer that quotes it could be encoded.
    """

    def parse(self, stream: Any, media_type: str | None = None, parser_context: Any = None) -> Any:
        try:
            return _whole(super().parse(stream, media_type, parser_context))
        except RecursionError:
            raise ParseError(_("the body is nested too deeply")) from None
        except ParseError as error:
            # REST framework's text is English, and so is Python's behind it.
            if at := getattr(error.__context__, "pos", None):
                raise ParseError(_("the body is not JSON: see its character %(at)d") % {"at": at + 1}) from None
            raise ParseError(_("the body is not JSON")) from None


def _whole(value: Any) -> Any:
    if isinstance(value, str):
        return _SURROGATE.sub("\N{REPLACEMENT CHARACTER}", value)
    if isinstance(value, list):
        return [_whole(item) for item in value]
    if isinstance(value, dict):
        return {_whole(key): _whole(item) for key, item in value.items()}
    return value
