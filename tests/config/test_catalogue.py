"""The Russian catalogues, ours and that of other packages' texts: whole, compiled, and of every text that there is."""

import gettext
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import django
import import_export
import pytest
import rest_framework
import rest_framework_simplejwt
import simple_history
import unfold
import waffle
from django.test import Client
from django.utils import translation
from rest_framework.exceptions import Throttled

from monitoring.former_messages import FORMER_MESSAGES
from tests.config.catalogue import CATALOGUE, THIRD_PARTY, Message, messages, missing

CATALOGUES = [CATALOGUE, THIRD_PARTY]
_THEME_TEXT = re.compile(r"""\{%\s*trans(?:late)?\s+(?:"([^"]+)"|'([^']+)')""")


def every_message() -> list[Message]:
    return [message for catalogue in CATALOGUES for message in messages(catalogue)]


def test_it_works() -> None:
    with translation.override("ru"):
        assert translation.gettext("Dead letters") == "Не удалось обработать"
        assert translation.ngettext("%(n)s update", "%(n)s updates", 3) % {"n": 3} == "3 события"


@pytest.mark.parametrize("catalogue", CATALOGUES, ids=str)
def test_nothing_is_untranslated_or_fuzzy(catalogue: Path) -> None:
    assert missing(catalogue) == []


@pytest.mark.parametrize("catalogue", CATALOGUES, ids=str)
def test_the_compiled_one_is_up_to_date(catalogue: Path) -> None:
    with catalogue.with_suffix(".mo").open("rb") as file:
        compiled = gettext.GNUTranslations(file)
    for message in messages(catalogue):
        if "msgid_plural" in message.parts:
            for number in (1, 3, 5):
                assert compiled.ngettext(message.text, "", number) in message.translations, message.text
        elif "msgctxt" in message.parts:
            assert compiled.pgettext(message.parts["msgctxt"], message.text) in message.translations, message.text
        else:
            assert compiled.gettext(message.text) == message.translations[0], message.text


def test_what_is_filled_in_stays_in_the_translation() -> None:
    """A lost placeholder loses a number; a strange one breaks the page."""
    named = re.compile(r"%\(\w+\)[a-z]|\{\w*\}")
    for message in every_message():
        originals = set(named.findall(message.text)) | set(named.findall(message.parts.get("msgid_plural", "")))
        for text in message.translations:
            assert set(named.findall(text)) == originals, message.text


def test_it_names_one_of_the_two_workers() -> None:
    """There is an inbox worker and a task worker: “the worker” may be either."""
    former = set(map(str, FORMER_MESSAGES))
    vague = re.compile(r"(?i)(?<!inbox )(?<!task )\bworker|обработчик\w*(?! (?:входящих|задач))\b")
    ours = [message for message in messages(CATALOGUE) if message.text not in former]
    assert [message.text for message in ours if any(map(vague.search, message.parts.values()))] == []


@pytest.mark.skipif(shutil.which("xgettext") is None, reason="gettext is not installed")
def test_it_has_every_text_of_the_sources(tmp_path: Path) -> None:
    """What this lists is to be translated: ``make messages``, fill in, once more."""
    for name in ("config", "employees", "monitoring", "profiles", "webhooks", "templates", "locale"):
        shutil.copytree(name, tmp_path / name, ignore=shutil.ignore_patterns("*.pyc", "static"))
    command = [sys.executable, "-m", "django", "makemessages", "--locale", "ru", "--no-obsolete", "--verbosity", "0"]
    environment = os.environ | {"DJANGO_SETTINGS_MODULE": "config.settings"}
    subprocess.run(command, cwd=tmp_path, check=True, env=environment)  # noqa: S603 (our own command)
    assert missing(tmp_path / CATALOGUE) == []


@pytest.mark.parametrize("package", [unfold, simple_history])
def test_it_has_every_text_of_the_theme(package: ModuleType) -> None:
    """A text of a new version goes into locale_thirdparty, unless Django has a Russian one."""
    with translation.override("ru"):
        ours = {message.text for message in every_message()}
        for path in Path(package.__path__[0]).rglob("*.html"):
            for text in (double or single for double, single in _THEME_TEXT.findall(path.read_text())):
                assert text in ours or translation.gettext(text) != text, f"{path.name}: {text}"


def words(text: str) -> str:
    """Return the words of a text, however its source wraps it and writes what is filled in."""
    filled = re.sub(r"%\((\w+)\)[sd]|%s", r" \1 ", text)
    return " ".join(["", *re.findall(r"[^\W_]+", filled), ""])


@pytest.mark.long
def test_a_package_has_every_text_that_is_translated_for_it() -> None:
    """A text that no installed version has any more goes."""
    packages = (django, unfold, simple_history, import_export, rest_framework, rest_framework_simplejwt, waffle)
    paths = [path for package in packages for path in Path(package.__path__[0]).rglob("*")]
    sources = words("\n".join(path.read_text() for path in paths if path.suffix in (".py", ".html")))
    assert [message.text for message in messages(THIRD_PARTY) if words(message.text) not in sources] == []


def test_the_api_answers_in_the_language_that_is_asked_for(client: Client, settings: object) -> None:
    settings.LANGUAGE_CODE = "ru"  # type: ignore[attr-defined]
    answers = {
        language: client.get("/nothing", headers={"Accept-Language": language} if language else {}).json()["error"]
        for language in ("", "ru", "en", "de")
    }
    assert {answer["code"] for answer in answers.values()} == {"NOT_FOUND"}
    assert answers["en"]["message"] == "Not found."
    assert answers[""]["message"] == answers["ru"]["message"] == answers["de"]["message"] == "Не найдено."


def test_the_packages_behind_the_api_do_too() -> None:
    with translation.override("ru"):
        assert Throttled(900, "Постойте.").detail == "Постойте. Повторите через 900 с."
