"""The 40 recorded updates: official stubs, captures, peers' tests, and bodies that are not updates."""

import csv
from pathlib import Path

import pytest

from profiles.models import Profile
from tests.webhooks.sending import send
from webhooks.models import InboxUpdate, State
from webhooks.processing import process_inbox

PAYLOADS = Path(__file__).parent.parent / "payloads"
ROWS = list(csv.DictReader((PAYLOADS / "index.tsv").read_text().splitlines(), delimiter="\t"))
FILES = sorted(path for path in PAYLOADS.iterdir() if path.suffix != ".tsv")


pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("cache_first")]


def empty(value: str) -> str:
    return "" if value in ("-", '""') else value


def test_every_file_has_its_row() -> None:
    assert sorted(row["file"] for row in ROWS) == [path.name for path in FILES]
    assert len(FILES) == 40


def test_its_profile_equals_its_row() -> None:
    for row in ROWS:
        InboxUpdate.objects.all().delete()
        Profile.objects.all().delete()
        assert send((PAYLOADS / row["file"]).read_bytes()).status == 200
        process_inbox()

        names = [(p.user_id, p.first_name or "", p.last_name or "") for p in Profile.objects.all()]
        expected = (row["user_id"], empty(row["first_name"]), empty(row["last_name"]))
        carries_names = row["user_id"] != "-" and any(expected[1:])
        assert names == ([expected] if carries_names else []), row["file"]


def test_all_in_a_row_are_200_and_finished() -> None:
    assert [send(path.read_bytes()).status for path in FILES] == [200] * 40
    process_inbox()
    assert not InboxUpdate.objects.pending().exists()
    quarantined = InboxUpdate.objects.filter(state=State.QUARANTINED).values_list("reason", flat=True)
    assert sorted(quarantined) == ["the body is empty", "the body is not JSON"]
