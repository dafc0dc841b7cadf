from typing import Any

from django.utils.translation import gettext as _
from rest_framework.exceptions import ParseError
from rest_framework.parsers import JSONParser

from config.lib.text import AS_GIVEN, LINE_BY_LINE, NUMBERS, clean, clean_lines, replace_surrogates


class BoundedJSONParser(JSONParser):
    """Parse JSON and clean its text, except in the fields of AS_GIVEN and NUMBERS; raise ParseError for invalid JSON.

    Fields of LINE_BY_LINE keep their line breaks. A body that is nested too deeply for Python counts as invalid.
    """

    def parse(self, stream: Any, media_type: str | None = None, parser_context: Any = None) -> Any:
        try:
            return _cleaned(super().parse(stream, media_type, parser_context))
        except RecursionError:
            raise ParseError(_("The JSON body is nested too deeply.")) from None
        except ParseError as error:
            # The messages of REST framework and Python are in English.
            if position := getattr(error.__context__, "pos", None):
                message = _("The body is not valid JSON (character %(position)d).") % {"position": position + 1}
                raise ParseError(message) from None
            raise ParseError(_("The body is not valid JSON.")) from None


def _cleaned(value: Any, key: str = "") -> Any:
    if isinstance(value, str):
        if key in AS_GIVEN or key in NUMBERS:
            return replace_surrogates(value)
        return clean_lines(value) if key in LINE_BY_LINE else clean(value)
    if isinstance(value, list):
        return [_cleaned(item) for item in value]
    if isinstance(value, dict):
        return {clean(key): _cleaned(item, key) for key, item in value.items()}
    return value
