"""Hooks of schemathesis: the schema describes text after cleaning, which generated text is not always."""

from typing import Any

import schemathesis
from schemathesis.core.failures import AcceptedNegativeData, Failure

from config.lib.text import clean


def is_clean(value: Any) -> bool:
    """Return whether cleaning changes no text in a value of JSON, or key, which can become a value in a query."""
    if isinstance(value, dict):
        value = [*value, *value.values()]
    return all(map(is_clean, value)) if isinstance(value, list) else not isinstance(value, str) or clean(value) == value


@schemathesis.hook
def filter_failure(context: Any, failure: Failure, case: Any, response: Any) -> bool:
    """Keep a failure, unless text that violates the schema no longer does after cleaning, and was accepted."""
    return not isinstance(failure, AcceptedNegativeData) or is_clean([case.query, case.body])
