import re
from typing import Any

from django.utils.translation import gettext as _
from rest_framework.exceptions import ParseError
from rest_framework.parsers import JSONParser

_SURROGATE = re.compile(r"[\ud800-\udfff]")


class BoundedJSONParser(JSONParser):
    """Parse JSON; refuse a body that is nested too deeply for Python, and replace lone surrogates with U+FFFD.

    JSON can contain half of a surrogate pair, but a response that quotes it could not be encoded.
    """

    def parse(self, stream: Any, media_type: str | None = None, parser_context: Any = None) -> Any:
        try:
            return _without_surrogates(super().parse(stream, media_type, parser_context))
        except RecursionError:
            raise ParseError(_("The JSON body is nested too deeply.")) from None
        except ParseError as error:
            # The messages of REST framework and Python are in English.
            if position := getattr(error.__context__, "pos", None):
                message = _("The body is not valid JSON (character %(position)d).") % {"position": position + 1}
                raise ParseError(message) from None
            raise ParseError(_("The body is not valid JSON.")) from None


def _without_surrogates(value: Any) -> Any:
    if isinstance(value, str):
        return _SURROGATE.sub("\N{REPLACEMENT CHARACTER}", value)
    if isinstance(value, list):
        return [_without_surrogates(item) for item in value]
    if isinstance(value, dict):
        return {_without_surrogates(key): _without_surrogates(item) for key, item in value.items()}
    return value
