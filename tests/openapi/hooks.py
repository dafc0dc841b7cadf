"""Hooks of schemathesis, which takes some texts for violations of the schema that are none."""

from typing import Any

import jsonschema_rs
import regex
import schemathesis
from schemathesis.core.failures import AcceptedNegativeData, Failure
from schemathesis.core.parameters import ParameterLocation

from config.lib.text import VISIBLE_PATTERN, clean, is_visible


def is_clean(value: Any) -> bool:
    """Return whether cleaning changes no text in a value of JSON, or key, which can become a value in a query."""
    if isinstance(value, dict):
        value = [*value, *value.values()]
    return all(map(is_clean, value)) if isinstance(value, list) else not isinstance(value, str) or clean(value) == value


def has_valid_body(case: Any) -> bool:
    """Return whether the body, an object, conforms to the schema.

    For schemathesis ``\\p{L}`` is a Latin letter, so it takes a name in Greek letters for a violation. The pattern of a
    name describes no emoji, which is accepted as one: here, a letter stands for it.
    """
    content = case.operation.definition.raw["requestBody"]["content"][case.media_type]
    schema = content["schema"] | {"components": case.operation.schema.raw_schema["components"]}
    validator = jsonschema_rs.validator_for(schema, validate_formats=True)
    if not isinstance(case.body, dict):
        return False
    return validator.is_valid({key: _with_letter(value) for key, value in case.body.items()})


def _with_letter(value: Any) -> Any:
    is_of_emoji = isinstance(value, str) and is_visible(value) and not regex.search(VISIBLE_PATTERN, value)
    return f"a{value[1:]}" if is_of_emoji else value


@schemathesis.hook
def filter_failure(context: Any, failure: Failure, case: Any, response: Any) -> bool:
    """Keep a failure, unless text that violates the schema was accepted, and does not violate it or not after cleaning.

    The schema describes text after cleaning.
    """
    if not isinstance(failure, AcceptedNegativeData):
        return True
    broken = {location for location, part in case.meta.components.items() if part.mode.is_negative}
    return is_clean([case.query, case.body]) and not (broken == {ParameterLocation.BODY} and has_valid_body(case))


@schemathesis.hook
def map_query(context: Any, query: dict[str, Any] | None) -> dict[str, Any] | None:
    """Return the query with whole numbers written as integers: 60.0 is one for JSON Schema, but not in an address."""
    items = (query or {}).items()
    return query and {name: int(value) if _is_whole(value) else value for name, value in items}


def _is_whole(value: Any) -> bool:
    return isinstance(value, float) and value.is_integer()
