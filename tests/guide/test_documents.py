"""The documents agree with the code: links, commands, make targets, paths, permissions, and the index."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from django.apps import apps
from django.contrib.auth import get_permission_codename
from django.core.management import CommandError, get_commands, load_command_class

from tests.guide.guide import blocks

ROOT = Path(__file__).parent.parent.parent
DOCS = ROOT / "docs"
DOCUMENTS = [*ROOT.glob("*.md"), *DOCS.rglob("*.md")]
# makemessages is for developers; the other two are waffle's own, under our rules.
UNDOCUMENTED = {"makemessages", "waffle_delete", "waffle_switch"}
FOLDERS = ("config", "profiles", "employees", "webhooks", "monitoring", "deploy", "tests")


def anchors(document: Path) -> set[str]:
    """Return the anchors that GitHub makes of a document's headings."""
    prose = re.sub(r"^```.*?^```", "", document.read_text(), flags=re.MULTILINE | re.DOTALL)
    titles = re.findall(r"^#+ (.+)$", prose, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def script_lines(document: Path) -> list[str]:
    scripts = [block.script.replace("\\\n", " ") for block in blocks(document.read_text())]
    return [line for script in scripts for line in script.splitlines()]


def commands_in(document: Path) -> list[str]:
    return [match[1] for line in script_lines(document) if (match := re.search(r"manage\.py (.*?)(?: \|.*)?$", line))]


def make_targets() -> set[str]:
    return set(re.findall(r"^([a-z0-9-]+):.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE))


def test_it_links_to_what_exists() -> None:
    for document in DOCUMENTS:
        for link in re.findall(r"\]\((?!https?:)([^)]+)\)", document.read_text()):
            path, _, anchor = link.partition("#")
            target = document.parent / path if path else document
            assert target.exists(), (document, link)
            assert not anchor or anchor in anchors(target), (document, link)


def test_it_names_commands_and_options_that_exist() -> None:
    for command in sorted({command for document in DOCUMENTS for command in commands_in(document)}):
        name, *arguments = shlex.split(command)
        parser = load_command_class(get_commands()[name], name).create_parser("manage.py", name)
        try:
            parser.parse_args(arguments)
        except CommandError as error:
            pytest.fail(f"{command}: {error}")


def test_it_finds_the_commands_of_the_documents() -> None:
    assert len(commands_in(DOCS / "migration-guide.md")) > 20
    assert sum(len(commands_in(document)) for document in DOCUMENTS) > 80


def test_it_names_make_targets_that_exist() -> None:
    for document in DOCUMENTS:
        names = re.findall(r"`make ([a-z][a-z0-9-]+)", document.read_text())
        names += re.findall(r"\bmake ([a-z][a-z0-9-]+)", "\n".join(script_lines(document)))
        assert set(names) <= make_targets(), document


def test_it_names_files_and_modules_that_exist() -> None:
    for document in DOCUMENTS:
        text = document.read_text()
        paths = re.findall(rf"`((?:{'|'.join(FOLDERS)}|docs)/[\w./-]*)`", text)
        modules = re.findall(r"`((?:config|tests)\.[a-z_.]+)`", text)
        paths += [module.replace(".", "/") for module in modules]
        missing = [path for path in paths if not (ROOT / path).exists() and not (ROOT / f"{path}.py").exists()]
        assert missing == [], document


def test_it_names_permissions_that_exist() -> None:
    existing = set()
    for model in apps.get_models():
        meta = model._meta
        codenames = [get_permission_codename(action, meta) for action in meta.default_permissions]
        codenames += [codename for codename, _ in meta.permissions]
        existing |= {f"{meta.app_label}.{codename}" for codename in codenames}
    table = (DOCS / "reference" / "permissions.md").read_text()
    named = set(re.findall(r"`((?:employees|monitoring|profiles|rollout|webhooks)\.[a-z_]+)`", table))
    assert len(named) > 10
    assert named <= existing


def test_it_has_every_document_that_the_code_names() -> None:
    files = [path for folder in FOLDERS for end in ("py", "yml", "html") for path in (ROOT / folder).rglob(f"*.{end}")]
    files += [ROOT / name for name in ("Makefile", ".env.example", "docker-compose.yml")]
    named = {name for path in files for name in re.findall(r"\bdocs/[a-z/-]+\.md", path.read_text())}
    assert len(named) > 10
    assert [name for name in sorted(named) if not (ROOT / name).exists()] == []


def test_it_has_a_row_for_every_make_target() -> None:
    table = (DOCS / "reference" / "make-targets.md").read_text()
    assert set(re.findall(r"^\| `make ([a-z0-9-]+)` \|", table, re.MULTILINE)) == make_targets()


def test_it_has_a_row_for_every_command() -> None:
    tables = (DOCS / "reference" / "commands.md").read_text()
    own = {name for name, app in get_commands().items() if str(app).startswith(FOLDERS)}
    assert set(re.findall(r"`manage\.py ([a-z_]+)", tables)) == own - UNDOCUMENTED


def test_it_lists_every_document_in_the_index() -> None:
    index = (DOCS / "README.md").read_text() + (DOCS / "ru" / "README.md").read_text()
    linked = {path.name for path in (DOCS / link for link in re.findall(r"\]\(([^)#]+)\)", index))}
    assert {path.name for path in DOCS.rglob("*.md")} - {"README.md"} <= linked
