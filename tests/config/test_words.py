"""Code, texts and documents use the field's words (docs/glossary.md), not those that they replaced."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator

import pytest
from django.conf import settings

FORBIDDEN = re.compile(r"(?i)(?<![a-z])(told|tells?|said|deeds?|bury|outlived|lasting|whom|anew)(?![a-z])")
# Recorded payloads and other projects' files are quotations; migrations keep the names of their time.
QUOTATIONS = re.compile(
    r"(^|/)(migrations|vendor|payloads|cases)/|(^|/)requirements[^/]*\.txt$|^tests/deploy/compose-spec\.json$"
)
# A column's name, and a key of stored JSON, which the previous release reads.
STORED_NAMES = re.compile(r'said_at|_MESSAGE_KEY = "said"')
EXEMPT = ("docs/glossary.md", "LICENSE", "tests/config/test_words.py")

REPLACED = {
    # Distinctive enough to be refused wherever a name stands.
    "identifier": {
        *("Saying", "Sentence", "DEEDS", "Tally", "KeptFigure", "TrafficDelta", "life_of", "looks_at", "RawLook"),
        *("Outlook", "Waker", "Repeat", "Sighting", "Claim", "Pulse", "named_employee", "note_source", "ask_later"),
        *("Controls", "Standing", "standings", "of_everybody", "Patiently", "take_leave_of_child", "last_words"),
    },
    # Common words, refused as the name of a function or a class.
    "definition": {
        *("outlook", "life", "leader", "ticket", "absorb", "fold", "spread", "silence", "find_user", "settle", "Order"),
        *("Scope", "Step", "Found", "Outcome", "Finding", "look", "Look", "ask", "alone", "patience", "know", "sink"),
        *("everywhere", "emptying", "wrongs", "ordeal", "Ordeal"),
    },
    "module": {
        *("sentences", "deeds", "backfill_deeds", "steering", "steer", "way_back", "conductor", "findings"),
        *("transition", "evidence", "census", "figures", "kept", "traffic", "trail", "titles", "words", "past"),
        *("digest", "advice", "life", "outlook", "silence", "wakeup", "writer", "counting", "direct_answers"),
        *("direct_api", "answers", "provenance", "ordeal", "wrongs", "sink", "everywhere", "emptying"),
    },
}


def tracked_texts() -> Iterator[tuple[str, str]]:
    """Return the path and the content of each tracked text file that this project wrote."""
    listed = subprocess.run(["git", "ls-files"], cwd=settings.BASE_DIR, capture_output=True, text=True, check=True)  # noqa: S607
    for name in listed.stdout.splitlines():
        path = settings.BASE_DIR / name
        if name in EXEMPT or QUOTATIONS.search(name) or not path.is_file():
            continue
        content = path.read_bytes()
        if b"\0" not in content:
            yield name, content.decode()


def names_in(path: str, source: str) -> Iterator[tuple[str, str]]:
    """Return the kind and the text of the module's name, of what it defines, and of the identifiers to check."""
    yield "module", path.rpartition("/")[2].removesuffix(".py").removeprefix("test_")
    for name in re.findall(r"^\s*(?:async )?(?:def|class) (\w+)", source, re.MULTILINE):
        yield "definition", name
    # Parsing takes most of the time, and few modules have such a word even in a comment.
    if re.search(rf"\b({'|'.join(REPLACED['identifier'])})\b", source):
        for node in ast.walk(ast.parse(source)):
            for field in ("id", "attr", "arg", "name"):
                if isinstance(name := getattr(node, field, None), str):
                    yield "identifier", name


def test_it_uses_no_forbidden_word() -> None:
    lines = [
        f"{path}:{number}: {line.strip()[:100]}"
        for path, text in tracked_texts()
        if FORBIDDEN.search(text)
        for number, line in enumerate(text.splitlines(), 1)
        if FORBIDDEN.search(STORED_NAMES.sub("", line))
    ]
    assert lines == []


def test_it_uses_no_replaced_name() -> None:
    names = {
        f"{path}: {kind} {name}"
        for path, text in tracked_texts()
        if path.endswith(".py")
        for kind, name in names_in(path, text)
        if name in REPLACED[kind]
    }
    assert sorted(names) == []


def test_classes_of_data_do_not_claim_to_act() -> None:
    """“Store a change” reads as if the class did that: a model, a tuple or a dataclass names what it holds."""
    verbs = ("Hold", "Store", "Record", "Queue", "Mark", "Link", "List", "Identify", "Describe", "Keep", "Remember")
    found = {
        f"{path}: {node.name}"
        for path, text in tracked_texts()
        if path.endswith(".py") and not path.startswith("tests/")
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.ClassDef) and is_of_data(node) and (ast.get_docstring(node) or "").startswith(verbs)
    }
    assert sorted(found) == []


def is_of_data(node: ast.ClassDef) -> bool:
    """Return whether the class is a model, a named tuple, a choice or a dataclass, by the names in its definition."""
    of = " ".join(map(ast.unparse, [*node.bases, *node.decorator_list]))
    return re.search(r"models\.Model\b|Choices|NamedTuple|Enum|dataclass", of) is not None


@pytest.mark.parametrize("word", ["told", "Tell", "_said", "deeds", "told_type", "whom"])
def test_it_finds_a_forbidden_word(word: str) -> None:
    assert FORBIDDEN.search(f"a {word} b")
    assert not FORBIDDEN.search("stellar, retold, untold: intellect, indeed, burying, everlasting")
