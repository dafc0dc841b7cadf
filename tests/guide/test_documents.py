"""The documents agree with the code: links, commands, make targets, and an index that has every document."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.core.management import CommandError, get_commands, load_command_class

from tests.guide.guide import blocks

ROOT = Path(__file__).parent.parent.parent
DOCS = ROOT / "docs"
DOCUMENTS = [*ROOT.glob("*.md"), *DOCS.rglob("*.md")]
# Not for operators: one is a developer's, two are waffle's own under our rules.
UNDOCUMENTED = {"makemessages", "waffle_delete", "waffle_switch"}
_OWN_APPS = ("employees", "monitoring", "profiles", "webhooks")


def anchors(document: Path) -> set[str]:
    """Return the anchors that GitHub makes of a document's headings."""
    prose = re.sub(r"^```.*?^```", "", document.read_text(), flags=re.MULTILINE | re.DOTALL)
    titles = re.findall(r"^#+ (.+)$", prose, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def commands_in(document: Path) -> Iterator[str]:
    for block in blocks(document.read_text()):
        for line in block.script.replace("\\\n", " ").splitlines():
            if found := re.search(r"manage\.py (.*?)(?: \|.*)?$", line):
                yield found.group(1)


def targets() -> set[str]:
    return set(re.findall(r"^([a-z0-9-]+):.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE))


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_leads_somewhere(document: Path) -> None:
    for link in re.findall(r"\]\((?!https?:)([^)]+)\)", document.read_text()):
        path, _, anchor = link.partition("#")
        target = document.parent / path if path else document
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_command_takes_its_options(document: Path) -> None:
    for command in commands_in(document):
        name, *arguments = shlex.split(command)
        parser = load_command_class(get_commands()[name], name).create_parser("manage.py", name)
        try:
            parser.parse_args(arguments)
        except CommandError as error:
            pytest.fail(f"{command}: {error}")


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_make_target_exists(document: Path) -> None:
    named = re.findall(r"`make ([a-z][a-z0-9-]+)|^make ([a-z][a-z0-9-]+)", document.read_text(), re.MULTILINE)
    assert {one or other for one, other in named} <= targets()


def test_every_document_that_the_code_names_exists() -> None:
    folders = ("config", "profiles", "employees", "webhooks", "monitoring", "deploy", "tests")
    files = [path for folder in folders for end in ("py", "yml", "html") for path in (ROOT / folder).rglob(f"*.{end}")]
    files += [ROOT / name for name in ("Makefile", ".env.example", "docker-compose.yml")]
    named = {name for path in files for name in re.findall(r"\bdocs/[a-z/-]+\.md", path.read_text())}
    assert len(named) > 10
    assert [name for name in sorted(named) if not (ROOT / name).exists()] == []


def test_the_table_has_every_make_target() -> None:
    table = (DOCS / "reference" / "make-targets.md").read_text()
    assert set(re.findall(r"^\| `make ([a-z0-9-]+)` \|", table, re.MULTILINE)) == targets()


def test_the_tables_have_every_command() -> None:
    tables = (DOCS / "reference" / "commands.md").read_text()
    own = {name for name, app in get_commands().items() if str(app).startswith(_OWN_APPS)}
    assert set(re.findall(r"`manage\.py ([a-z_]+)", tables)) == own - UNDOCUMENTED


def test_the_index_has_every_document() -> None:
    index = (DOCS / "README.md").read_text() + (DOCS / "ru" / "README.md").read_text()
    linked = {path.name for path in (DOCS / link for link in re.findall(r"\]\(([^)#]+)\)", index))}
    assert {path.name for path in DOCS.rglob("*.md")} - {"README.md"} <= linked
