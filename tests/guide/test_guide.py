"""Every command of docs/migration-guide.md works when it is pasted, in order.

``make test-guide`` runs them on a system of their own; RECORD=1 writes the answers into the guide. test_documents.py
checks in every run of the suite that each command and option exists.
"""

import os
import shutil
from collections.abc import Iterator

import pytest

from tests.guide.guide import GUIDE, Block, blocks, refusals, steady, with_answers
from tests.guide.trial import Trial

TEXT = GUIDE.read_text()
BLOCKS = blocks(TEXT)


def test_it_finds_every_block_of_commands() -> None:
    assert len(BLOCKS) == TEXT.count("```bash\n")
    assert len(BLOCKS) > 30
    assert [block.note for block in BLOCKS if not block.is_run] == [
        "not run: needs Docker",
        "not run: needs a bot of MAX",
    ]


@pytest.fixture
def trial() -> Iterator[Trial]:
    started = Trial()
    try:
        yield started
    finally:
        started.stop()


@pytest.mark.skipif(os.environ.get("GUIDE") != "full", reason="takes minutes: make test-guide")
@pytest.mark.timeout(900)
def test_it_answers_every_command_as_printed(trial: Trial) -> None:
    answers: list[tuple[Block, str]] = []
    for block in BLOCKS:
        if not block.is_run or (block.note.startswith("needs: ") and not shutil.which(block.note.split()[1])):
            continue
        if block.note == "background":
            trial.start_in_background()
            continue
        answer, code = trial.run(block.script)
        print(f"{block.line}: {block.script.strip().splitlines()[0][:100]}")  # noqa: T201 (the progress)
        failed = f"line {block.line}: {block.script}\n{answer}"
        assert code == 0, failed
        # So a recording does not take a refusal for what the guide promises.
        assert len(refusals(answer)) <= len(refusals(block.answer)), failed
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
