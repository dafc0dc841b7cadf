"""``manage.py rollback``: exits 0 when done and proven, 1 when refused, 3 when written but not proven."""

from __future__ import annotations

import time
from argparse import ArgumentParser
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError

from employees import name_source_archive
from employees.models import University
from monitoring.management.commands.rollout import request_of
from monitoring.rollout_control import rollback, terminal
from monitoring.rollout_control.rollback import NotVerified
from profiles.rollout import changes
from profiles.rollout.changes import Latched
from profiles.rollout.models import Action
from profiles.rollout.rules import ChangeRefused

PARTS = {
    "emergency": "the direct API answers for everyone, updates are stored only; “rollout resume” ends it",
    "webhook": "store updates, do not process them",
    "cache": "nobody is served from the cache, collection goes on",
    "monitoring": "the reports answer 404, the gates become inconclusive",
}

SWITCHES = {"webhook": "webhook_processing", "cache": "profile_cache", "monitoring": "monitoring"}


class Command(BaseCommand):
    help = "Go back, a part or all of it, and prove that it is in force. Needs neither Redis nor a worker nor gates."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parts = parser.add_subparsers(dest="part", required=True, metavar="PART")
        for name, text in PARTS.items():
            part = parts.add_parser(name, help=text)
            _terms(part)
            if name == "emergency":
                part.add_argument("--rehearse", action="store_true", help="with one university, timed, and back again")
                part.add_argument("--university", type=int, help="the one to rehearse with")
            else:
                part.add_argument("--undo", action="store_true", help="turn it on again")
        _terms(parts.add_parser("schema", help="rename the columns of profile_source away; “migrate” brings them back"))

    def handle(self, *args: Any, part: str, **options: Any) -> None:
        try:
            for line in self._lines(part, **options):
                self.stdout.write(line)
                self.stdout.flush()
        except NotVerified as doubt:
            raise CommandError(f"Written, but not proven: {doubt}", returncode=3) from None
        except Latched as latched:
            raise CommandError(str(latched), returncode=3) from None
        except ChangeRefused as refused:
            raise CommandError(str(refused)) from None
        except DatabaseError as error:
            raise CommandError(f"PostgreSQL: {str(error).splitlines()[0]}") from None

    def _lines(self, part: str, **options: Any) -> Iterator[str]:
        if part == "schema":
            return self._schema(**options)
        if options.get("rehearse"):
            return self._rehearsal(**options)
        if options.get("university") is not None:
            raise CommandError("--university is for --rehearse: an emergency rollback is for everybody")
        return self._part(part, **options)

    def _part(self, part: str, *, undo: bool = False, **options: Any) -> Iterator[str]:
        started = time.perf_counter()
        what = {"switch": SWITCHES[part], "is_on": undo} if part in SWITCHES else {}
        request = request_of(Action.SWITCH if what else Action.EMERGENCY, options, **what)
        yield from terminal.outcome(changes.apply(request))
        if not request.is_dry_run and not undo:
            yield from rollback.verify(part)
        yield f"Took {time.perf_counter() - started:.2f} s"

    def _rehearsal(self, university: int | None, **options: Any) -> Iterator[str]:
        if university is None:
            raise CommandError("--rehearse needs --university")
        if not University.objects.filter(pk=university).exists():
            raise CommandError(f"There is no university {university}")
        request = request_of(Action.REHEARSAL, options)
        if request.is_dry_run:
            yield f"Dry run: university {university} would leave the cache and come back"
            return
        facts = rollback.rehearse(university, request)
        yield f"University {university} out after {facts['out_s']} s ({facts['out']})"
        yield f"and back after {facts['total_s']} s ({facts['back']})"

    def _schema(self, **options: Any) -> Iterator[str]:
        request = request_of(Action.SCHEMA, options)
        name_source_archive.refuse_unless_idle()
        if not name_source_archive.has_column():
            yield "The columns are archived already: nothing to do"
            return
        yield "1. drop the index idx_employees_profile_source, concurrently"
        yield "2. rename profile_source and profile_last_updated to archived_…, where their content stays"
        yield "This release needs both columns: first deploy the release that does not use them"
        if request.is_dry_run:
            yield "Dry run: nothing was done"
            return
        started = time.perf_counter()
        name_source_archive.roll_back()
        if name_source_archive.has_column():
            raise NotVerified("the columns are still there")
        changes.apply(replace(request, facts={"archived": ["profile_source", "profile_last_updated"]}))
        yield "Archived in the table employees; “migrate employees” brings the columns and their content back"
        yield f"Took {time.perf_counter() - started:.2f} s"


def _terms(parser: ArgumentParser) -> None:
    parser.add_argument("--reason", default="", help="why; recorded for good")
    parser.add_argument("--dry-run", action="store_true", help="say what would happen, and write nothing")
    parser.add_argument("--by", default=None, help="who [the user of this shell]")
