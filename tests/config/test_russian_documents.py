"""What operators and clerks need is in Russian too, with the same commands."""

import re
from pathlib import Path

import pytest

ENGLISH, RUSSIAN = Path("docs/how-to"), Path("docs/ru")
# The guides of everyday work, and the page that each has in Russian.
PAGES = {
    "backfill.md": "backfill.md",
    "erase-a-person.md": "personal-data.md",
    "import-and-export.md": "clerk.md",
    "move-the-rollout.md": "move-the-rollout.md",
    "on-call.md": "on-call.md",
    "roll-back.md": "roll-back.md",
}
# Russian has a shorter page, which links the English one.
SHORTER = {"deployment.md": "deployment.md", "runbook.md": "operator.md", "connect-a-service.md": "operator.md"}
FOR_ADMINISTRATORS = {"log-in.md", "several-machines.md", "traces.md", "webhook-configuration.md"}
_BLOCK = re.compile(r"^```bash\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_ROWS = re.compile(r"<<'(\w+)'.*?^\1$", re.MULTILINE | re.DOTALL)
_QUOTED = re.compile(r'"[^"\n$]*"')
_COMMAND = re.compile(r"manage\.py[ \n][a-z_]+(?: [a-z-]+)?")


def blocks(page: Path) -> list[str]:
    """Return the commands of a page; the texts in quotation marks and the rows of a file are in its language."""
    texts = (
        re.sub(r"<<'(\w+)'.*?^\1$", r"\1", block, flags=re.MULTILINE | re.DOTALL)
        for block in _BLOCK.findall(page.read_text())
    )
    return [re.sub(r'"[^"\n$]*"', '"…"', text) for text in texts]


def test_each_guide_is_known() -> None:
    assert {page.name for page in ENGLISH.iterdir()} == PAGES.keys() | SHORTER.keys() | FOR_ADMINISTRATORS


@pytest.mark.parametrize("name", PAGES)
def test_the_russian_page_has_the_same_commands(name: str) -> None:
    assert blocks(RUSSIAN / PAGES[name]) == blocks(ENGLISH / name)


@pytest.mark.parametrize("name", SHORTER)
def test_a_shorter_page_links_the_english_one(name: str) -> None:
    assert f"../how-to/{name})" in (RUSSIAN / SHORTER[name]).read_text()


def test_the_commands_of_an_upgrade_and_a_backup_are_the_same() -> None:
    russian = blocks(RUSSIAN / "deployment.md")
    assert len(russian) == 5
    assert set(russian) <= set(blocks(ENGLISH / "deployment.md"))


def test_every_command_of_a_russian_page_is_in_an_english_one() -> None:
    english = " ".join(page.read_text() for page in Path("docs").rglob("*.md") if page.parent != RUSSIAN)
    known = {" ".join(command.split()) for command in _COMMAND.findall(english)}
    used = {
        (page.name, " ".join(command.split()))
        for page in RUSSIAN.iterdir()
        for command in _COMMAND.findall(page.read_text())
    }
    assert {(page, command) for page, command in used if command not in known} == set()


def test_the_index_lists_every_page() -> None:
    index = (RUSSIAN / "README.md").read_text()
    assert [page.name for page in RUSSIAN.iterdir() if page.name != "README.md" and f"({page.name})" not in index] == []
