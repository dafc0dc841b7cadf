"""The migration guide does what it says, by copy and paste, in order.

``make test-guide`` follows it on a system of its own (RECORD=1 writes the answers into it anew); the suite sees that
each command and option exists.
"""

import os
import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.core.management import CommandError, get_commands, load_command_class

from tests.guide.guide import GUIDE, Block, blocks, steady, with_answers
from tests.guide.trial import Trial

ROOT = Path(__file__).parent.parent.parent
TEXT = GUIDE.read_text()
BLOCKS = blocks(TEXT)


def lines() -> Iterator[str]:
    for block in BLOCKS:
        yield from block.script.replace("\\\n", " ").splitlines()


def test_every_block_of_commands_is_seen() -> None:
    assert len(BLOCKS) == TEXT.count("```bash\n")
    assert len(BLOCKS) > 30
    assert [block.note for block in BLOCKS if not block.is_run] == [
        "not run: needs Docker",
        "not run: needs a bot of MAX",
    ]


def test_every_command_exists_and_takes_its_options() -> None:
    commands = [found.group(1) for line in lines() if (found := re.search(r"manage\.py (.*?)(?: \|\|.*)?$", line))]
    assert len(commands) > 20
    for command in commands:
        name, *arguments = shlex.split(command)
        parser = load_command_class(get_commands()[name], name).create_parser("manage.py", name)
        try:
            parser.parse_args(arguments)
        except CommandError as error:
            pytest.fail(f"{command}: {error}")


def test_every_target_of_make_exists() -> None:
    targets = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"\bmake ([a-z][a-z0-9-]+)", TEXT))
    assert named <= targets


@pytest.fixture
def trial() -> Iterator[Trial]:
    started = Trial()
    try:
        yield started
    finally:
        started.stop()


@pytest.mark.skipif(os.environ.get("GUIDE") != "full", reason="takes minutes: make test-guide")
@pytest.mark.timeout(900)
def test_every_command_answers_as_printed(trial: Trial) -> None:
    answers: list[tuple[Block, str]] = []
    for block in BLOCKS:
        if not block.is_run or (block.note.startswith("needs: ") and not shutil.which(block.note.split()[1])):
            continue
        if block.note == "background":
            trial.start_in_background()
            continue
        answer, code = trial.run(block.script)
        print(f"{block.line}: {block.script.strip().splitlines()[0][:100]}")  # noqa: T201 (its progress)
        assert code == 0, f"line {block.line}: {block.script}\n{answer}"
        answers.append((block, answer))
    if os.environ.get("RECORD"):
        GUIDE.write_text(with_answers(TEXT, answers))
        return
    differing = [
        f"line {block.line}: {block.script}{answer}"
        for block, answer in answers
        if steady(answer) != steady(block.answer)
    ]
    assert differing == []
