"""Reads the blocks of commands in a document, and the answer that is printed below each."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

GUIDE = Path(__file__).parent.parent.parent / "docs" / "migration-guide.md"
_BLOCK = re.compile(
    r"(?:^<!-- (?P<note>[^>]*) -->\n)?^```bash\n(?P<script>.*?)^```\n(?P<printed>\n```text\n(?P<answer>.*?)^```\n)?",
    re.MULTILINE | re.DOTALL,
)
# What differs from run to run, or from machine to machine.
_VOLATILE = [
    (r"eyJ[\w.-]+", "TOKEN"),
    (r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d+)?)?(\+\d\d:?\d\d|Z| UTC)?", "MOMENT"),
    (r"(?i:^date: ).*", "MOMENT"),
    (r"\b\d+(\.\d+)?[ \u00a0]?(ms|s|min|h)\b", "TIME"),
    (r'("(?:latency_ms|average_processing_time_ms|average_age_days|age_seconds)":) ?[\d.]+', r"\1N"),
    (r"((?:used_memory|maxmemory|total_operations|cache_hit_rate|p\d\d_processing|latency)\w*\W+)[\d.]+", r"\1N"),
    # The rollout controller sends synthetic updates of its own.
    (r'("(?:total_events|successful_events|other)":)\d+|\bn = \d+', r"\1N"),
    (r"(Can be replayed|Put back into the queue|as replay):? \d+", r"\1: N"),
    (r"127\.0\.0\.1:\d+|localhost:\d+", "ADDRESS"),
    (r"\b[\d.]+(?= of \d+[ \u00a0]MB)|(?<=queued tasks: )\d+", "N"),
    (r"(?<=Used memory)( +)[\d.]+(?=[ \u00a0]MB)", r"\1N"),
    (r"(?<=x-request-id: )\w+", "N"),
    # The unit is on the next line of the cell.
    (r"(?<=processed in )\d+$", "N"),
    (r"/\S*/\.data\b", ".data"),
    (r"\d+/\d+ at revision", "N/N at revision"),
    # A killed process keeps its heartbeat row for a while.
    (r"; silent processes, not counted: .*|(?<=silent processes).*", ""),
    (r"^date: .*|Makefile:\d+", ""),
    (r"[━─┏┓┗┛┡┩┳┻╇┃│└┘┴┼├┤╭╮╰╯╺╸]+", " "),
    (r"[ \t]+", " "),
]
# What the API and the commands answer when they refuse; curl ends with 0 then, too.
_REFUSAL = re.compile(r'^(?:\{"error":.*|CommandError:)', re.MULTILINE)


@dataclass(frozen=True)
class Block:
    script: str
    answer: str
    note: str
    line: int
    answer_start: int
    answer_end: int

    @property
    def is_run(self) -> bool:
        return not self.note.startswith("not run")


def blocks(text: str) -> list[Block]:
    return [
        Block(
            match["script"],
            match["answer"] or "",
            (match["note"] or "").strip(),
            text.count("\n", 0, match.start("script")) + 1,
            match.start("printed") if match["printed"] else match.end(),
            match.end(),
        )
        for match in _BLOCK.finditer(text)
    ]


def steady(answer: str) -> list[str]:
    """Return the lines of an answer without what differs from run to run."""
    for pattern, name in _VOLATILE:
        answer = re.sub(pattern, name, answer, flags=re.MULTILINE)
    return [line.strip() for line in answer.splitlines() if line.strip()]


def refusals(answer: str) -> list[str]:
    """Return the beginning of each command's refusal, and the API's errors as a whole."""
    return _REFUSAL.findall(answer)


def with_answers(text: str, answers: list[tuple[Block, str]]) -> str:
    """Return the document with these answers instead of the printed ones."""
    for block, answer in sorted(answers, key=lambda pair: -pair[0].answer_start):
        printed = f"\n```text\n{answer.rstrip()}\n```\n" if answer.strip() else ""
        text = text[: block.answer_start] + printed + text[block.answer_end :]
    return text
