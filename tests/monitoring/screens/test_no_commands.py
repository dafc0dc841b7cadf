"""No sentence of a page names a shell command: there is a link to the form that does it."""

import re

import pytest
from django.test import Client
from django.utils.html import strip_tags

from profiles.rollout.phases import PHASES
from tests.monitoring.screens.conftest import READ
from tests.rollout.changing import change

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("redis", "shared_round")]
COMMAND = re.compile(
    r"manage\.py|\brollout (status|set|advance|pause|resume|schedule|gates)\b|\brollback (emergency|cache)\b|\s--[a-z]"
)
CODE = re.compile(r"<(script|style)\b.*?</\1>", re.DOTALL)
PAGES = [*READ, "/admin/audit/", "/admin/employees/backfillrun/add/preview/", "/admin/steer/2/preview/?percent=0"]


def commands(client: Client, path: str, language: str) -> set[str]:
    client.cookies["django_language"] = language
    text = strip_tags(CODE.sub("", client.get(path).content.decode()))
    return {match.group() for match in COMMAND.finditer(text)}


@pytest.mark.long
@pytest.mark.parametrize("language", ["en", "ru"])
def test_it_works(filled: Client, language: str) -> None:
    found = {path: words for path in PAGES if (words := commands(filled, path, language))}
    assert found == {}


def test_a_held_rollout_names_none(filled: Client) -> None:
    change("pause", reason="wrong names")
    change("set", phase=PHASES[2], percent=1)
    pages = ("/admin/", "/admin/rollout/", "/admin/steer/3/preview/?percent=5", "/admin/steer/resume/")
    assert {path: words for path in pages if (words := commands(filled, path, "en"))} == {}
