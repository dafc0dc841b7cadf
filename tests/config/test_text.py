"""Text from people: what is removed at the edge, and what never reaches a terminal."""

import io
import re
import unicodedata
from itertools import chain
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.http import HttpResponse
from django.test import Client, RequestFactory
from hypothesis import given
from hypothesis import strategies as st
from rest_framework.test import APIClient

from config.lib import text as texts
from config.lib.commands import BaseCommand
from config.lib.http.middleware import InputMiddleware
from config.lib.text import clean, composed, for_terminal, is_blank
from employees.models import University
from profiles.rollout.models import Change
from profiles.typed_values import visible

HOSTILE = "re\x1b[31mas\u202eon\x9b2J\u2028\x07 "
CLEANED = "re[31mason2J"
BIDI = "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"


def is_control(character: str) -> bool:
    return unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") or character in BIDI


@given(st.text(st.characters(codec=None)))
def test_it_works(text: str) -> None:
    cleaned = clean(text)
    assert not any(map(is_control, cleaned))
    assert clean(cleaned) == cleaned
    # The check for plain text makes no difference: a control character prevents it.
    assert clean(f"\0{text}") == cleaned


@given(st.text())
def test_a_terminal_gets_no_control_characters(text: str) -> None:
    shown = for_terminal(text)
    assert not any(is_control(character) for character in shown if character not in "\n\t")
    assert not any(map(is_control, re.sub(r"\x1b\[[0-9;]*m|[\n\t]", "", for_terminal(text, has_colours=True))))


class Echo(BaseCommand):
    def add_arguments(self, parser: Any) -> None:
        parser.add_argument("words", nargs="*")
        parser.add_argument("--reason", default="")

    def handle(self, *args: Any, words: list[str], reason: str, **options: Any) -> None:
        self.given = [*words, reason]
        self.stdout.write(f"{HOSTILE}\n1\t2")
        raise CommandError(HOSTILE)


def test_commands_neither_take_nor_print_control_characters(capsys: pytest.CaptureFixture[str]) -> None:
    command, out = Echo(), io.StringIO()
    with pytest.raises(CommandError):
        call_command(command, HOSTILE, reason=HOSTILE, stdout=out)
    assert [text.strip() for text in command.given] == [CLEANED] * 2
    assert out.getvalue() == f"{CLEANED} \n1\t2\n"
    with pytest.raises(SystemExit):
        Echo().run_from_argv(["manage.py", "echo"])
    printed = capsys.readouterr()
    assert (printed.out, printed.err) == (f"{CLEANED} \n1\t2\n", f"CommandError: {CLEANED} \n")


@pytest.mark.django_db
@pytest.mark.usefixtures("phases")
def test_reasons_are_cleaned_by_command_api_and_admin(api: APIClient, client: Client, superadmin: User) -> None:
    call_command("rollout", "pause", reason=HOSTILE, stdout=io.StringIO())
    assert api.post("/monitoring/rollout/resume", {"reason": HOSTILE}, format="json").status_code == 200
    client.force_login(superadmin)
    assert client.post("/admin/steer/pause/", {"reason": HOSTILE}).status_code == 302
    assert list(Change.objects.values_list("reason", flat=True)[:3]) == [CLEANED] * 3


@pytest.mark.django_db
def test_names_of_universities_are_cleaned_by_api_and_admin(api: APIClient, client: Client, superadmin: User) -> None:
    assert api.post("/universities", {"name": HOSTILE}, format="json").status_code == 201
    client.force_login(superadmin)
    form = {"name": f"{HOSTILE}2", "inn": "", "kpp": ""}
    assert client.post("/admin/employees/university/add/", form).status_code == 302
    assert set(University.objects.values_list("name", flat=True)) == {CLEANED, f"{CLEANED} 2"}


def test_forms_keep_passwords_line_breaks_of_notes_and_what_they_have_shown() -> None:
    kept = {"password": HOSTILE, "new_password1": HOSTILE, "initial-name": HOSTILE}
    form = {"reason": f"{HOSTILE}\r\n2", "note": f"{HOSTILE}\r\n\t2", **kept}
    request = RequestFactory().post("/admin/any/?q=%20a%1B", form)
    InputMiddleware(lambda _: HttpResponse()).process_request(request)
    assert request.POST.dict() == {"reason": f"{CLEANED} 2", "note": f"{CLEANED}\n2", **kept}
    assert request.GET.dict() == {"q": "a"}


def test_noncharacters_are_removed() -> None:
    codes = [
        *range(0xFDD0, 0xFDF0),
        *(plane + end for plane in range(0, 0x110000, 0x10000) for end in (0xFFFE, 0xFFFF)),
    ]
    assert len(codes) == 66, "there are no others, in any version of Unicode"
    for code in codes:
        assert clean(f"Ан{chr(code)}на") == "Анна", hex(code)


def test_blank_is_what_has_nothing_visible() -> None:
    # Invisible characters are in these blocks, and a few musical and stenographic ones.
    for character in map(
        chr, chain(range(0x3200), range(0xFDD0, 0x10000), range(0x13430, 0x13460), range(0xE0000, 0xE1000))
    ):
        assert is_blank(character) == (not visible(character)), hex(ord(character))


@given(st.text(st.sampled_from("\u3164\u200b \n\u200d\ufe0f\U000e0067\U0001f3f4\u0301a\u0600\ud800\u2800"), max_size=8))
def test_a_blank_text_has_nothing_visible(text: str) -> None:
    assert is_blank(text) == (not visible(text))


def test_composed_checks_frequent_texts_only_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(texts, "unicodedata", None)
    message = "Здравствуйте! «Меня зовут Zoë…» — № 7\n"
    assert composed(message) == message


def test_a_text_without_marks_is_composed() -> None:
    """None of the characters that composed() does not look at is a mark, has another form, or joins the one before."""
    characters = [chr(point) for point in range(0x110000)]
    forms = (unicodedata.decomposition(character) for character in characters)
    joining = {chr(int(form.split()[-1], 16)) for form in forms if form and form[0] != "<" and " " in form}
    unmarked = [character for character in characters if texts._UNMARKED.fullmatch(character)]
    assert not [
        character
        for character in unmarked
        if character in joining
        or unicodedata.category(character)[0] == "M"
        or unicodedata.normalize("NFC", character) != character
    ]
    assert len(unmarked) > 1000
