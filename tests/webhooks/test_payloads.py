"""The 40 recorded updates: official stubs, captures, peers' tests, and what is no update at all."""

import csv
from pathlib import Path

import pytest
from django.test import Client

from profiles.models import Profile
from webhooks.models import InboxUpdate, State
from webhooks.processing import process_inbox

PAYLOADS = Path(__file__).parent.parent / "payloads"
ROWS = list(csv.DictReader((PAYLOADS / "index.tsv").read_text().splitlines(), delimiter="\t"))
FILES = sorted(path for path in PAYLOADS.iterdir() if path.suffix != ".tsv")


def post(client: Client, path: Path) -> int:
    return client.post("/webhook/max", path.read_bytes(), content_type="application/json").status_code


def empty(value: str) -> str:
    return "" if value in ("-", '""') else value


def test_every_file_has_its_row() -> None:
    assert sorted(row["file"] for row in ROWS) == [path.name for path in FILES]
    assert len(FILES) == 40


@pytest.mark.usefixtures("cache_first")
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["file"])
def test_its_profile_equals_its_row(client: Client, row: dict[str, str]) -> None:
    assert post(client, PAYLOADS / row["file"]) == 200
    process_inbox()

    names = [(p.user_id, p.first_name or "", p.last_name or "") for p in Profile.objects.all()]
    expected = (row["user_id"], empty(row["first_name"]), empty(row["last_name"]))
    carries_names = row["user_id"] != "-" and any(expected[1:])
    assert names == ([expected] if carries_names else [])


@pytest.mark.usefixtures("cache_first")
def test_all_in_a_row_are_200_and_finished(client: Client) -> None:
    assert [post(client, path) for path in FILES] == [200] * 40
    process_inbox()
    assert not InboxUpdate.objects.pending().exists()
    quarantined = InboxUpdate.objects.filter(state=State.QUARANTINED).values_list("reason", flat=True)
    assert sorted(quarantined) == ["the body is empty", "the body is not JSON"]
