"""The steps on an alert's page are those of its section in the documents, in English and in Russian."""

import re
from pathlib import Path

import pytest
from django.utils import translation

from monitoring.alerts.kinds import Kind
from monitoring.alerts.runbook import STEPS
from tests.monitoring.screens.test_no_commands import COMMAND

DOCS = Path(__file__).parent.parent.parent / "docs"


def first_list(document: str, heading: str) -> list[str]:
    """Return the items of the numbered list that the section begins with, each on one line."""
    section = re.split(r"^## ", (DOCS / document).read_text(), flags=re.MULTILINE)
    (text,) = (part.partition("\n\n")[2] for part in section if heading in part.partition("\n")[0])
    return [" ".join(item.split()) for item in re.split(r"^\d+\. ", text.split("\n\n")[0], flags=re.MULTILINE)[1:]]


@pytest.mark.parametrize(
    ("language", "document", "heading"), [("en", "how-to/runbook.md", "{}"), ("ru", "ru/alerts.md", "(`{}`)")]
)
def test_the_documents_have_the_same_steps(language: str, document: str, heading: str) -> None:
    for kind in Kind:
        with translation.override(language):
            steps = [str(step) for step in STEPS[kind]]
        assert first_list(document, heading.format(kind.value)) == steps
        assert not any(COMMAND.search(step) for step in steps)
