"""Hooks of schemathesis, which takes some texts for violations of the schema that are none."""

from typing import Any

import jsonschema_rs
import schemathesis
from schemathesis.core.failures import AcceptedNegativeData, Failure
from schemathesis.core.parameters import ParameterLocation

from config.lib.text import clean


def is_clean(value: Any) -> bool:
    """Return whether cleaning changes no text in a value of JSON, or key, which can become a value in a query."""
    if isinstance(value, dict):
        value = [*value, *value.values()]
    return all(map(is_clean, value)) if isinstance(value, list) else not isinstance(value, str) or clean(value) == value


def has_valid_body(case: Any) -> bool:
    """Return whether the body, an object, conforms to the schema.

    For schemathesis ``\\p{L}`` is a Latin letter, so it takes a name in Greek letters for a violation.
    """
    content = case.operation.definition.raw["requestBody"]["content"][case.media_type]
    schema = content["schema"] | {"components": case.operation.schema.raw_schema["components"]}
    validator = jsonschema_rs.validator_for(schema, validate_formats=True)
    return isinstance(case.body, dict) and validator.is_valid(case.body)


@schemathesis.hook
def filter_failure(context: Any, failure: Failure, case: Any, response: Any) -> bool:
    """Keep a failure, unless text that violates the schema was accepted, and does not violate it or not after cleaning.

    The schema describes text after cleaning.
    """
    if not isinstance(failure, AcceptedNegativeData):
        return True
    broken = {location for location, part in case.meta.components.items() if part.mode.is_negative}
    return is_clean([case.query, case.body]) and not (broken == {ParameterLocation.BODY} and has_valid_body(case))
