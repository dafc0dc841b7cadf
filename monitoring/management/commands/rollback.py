"""``manage.py rollback``: exits with 0 if the change is verified, and with 1 if it is refused.

It exits with 3 if the change is written but not verified, or if a synchronous standby has not confirmed it.
"""

import time
from argparse import ArgumentParser
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from django.core.management.base import CommandError

from config.lib.commands import BaseCommand
from employees import name_source_archive
from employees.models import University
from monitoring.management.commands.rollout import add_terms, refusals_as_errors, request_of
from monitoring.rollout_control import rollback, terminal
from monitoring.rollout_control.rollback import NotVerified
from profiles.rollout import changes
from profiles.rollout.changes import Latched
from profiles.rollout.models import Action, university_name
from profiles.rollout.presenters import audit_rows
from profiles.rollout.standby import HERE_ONLY

PARTS = {
    "emergency": "let the direct API answer for everyone and only store updates; “rollout resume” ends this",
    "webhook": "store updates without processing them",
    "cache": "serve nobody from the cache; collection continues",
    "monitoring": "answer 404 to reports; the gates become inconclusive",
}

SWITCHES = {"webhook": "webhook_processing", "cache": "profile_cache", "monitoring": "monitoring"}


class Command(BaseCommand):
    help = "Roll back a part of the system or all of it, and verify it. Needs only PostgreSQL; no gates are checked."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parts = parser.add_subparsers(dest="part", required=True, metavar="PART")
        for name, text in PARTS.items():
            add_terms(part := parts.add_parser(name, help=text))
            if name == "emergency":
                part.add_argument("--rehearse", action="store_true", help="with one university, timed, and back again")
                part.add_argument("--university", type=int, help="ID of the university to rehearse with")
            else:
                part.add_argument("--undo", action="store_true", help="turn the part on again")
        add_terms(parts.add_parser("schema", help="rename the columns of profile_source; “migrate” restores them"))

    def handle(self, *args: Any, part: str, **options: Any) -> None:
        with refusals_as_errors(self.stdout):
            try:
                for line in self._lines(part, **options):
                    self.stdout.write(line)
                    self.stdout.flush()
            except NotVerified as doubt:
                raise CommandError(f"Written, but not verified: {doubt}", returncode=3) from None
            except Latched as latched:
                raise CommandError(str(latched), returncode=3) from None

    def _lines(self, part: str, **options: Any) -> Iterator[str]:
        if part == "schema":
            return self._schema(**options)
        if options.get("rehearse"):
            return self._rehearsal(**options)
        if options.get("university") is not None:
            raise CommandError("--university needs --rehearse: an emergency rollback affects every university")
        return self._part(part, **options)

    def _part(self, part: str, *, undo: bool = False, **options: Any) -> Iterator[str]:
        started = time.perf_counter()
        switch = {"switch": SWITCHES[part], "is_on": undo} if part in SWITCHES else {}
        request = request_of(Action.SWITCH if switch else Action.EMERGENCY, options, **switch)
        result = changes.apply(request)
        yield from terminal.outcome(result)
        if not request.is_dry_run and not undo:
            yield from rollback.verify(part)
        yield f"Took {time.perf_counter() - started:.2f} s"
        if result.is_here_only:
            raise CommandError(str(HERE_ONLY), returncode=3)

    def _rehearsal(self, university: int | None, **options: Any) -> Iterator[str]:
        if university is None:
            raise CommandError("--rehearse needs --university")
        if not University.objects.filter(pk=university).exists():
            raise CommandError(f"There is no university {university}")
        request = request_of(Action.REHEARSAL, options)
        if request.is_dry_run:
            yield f"Dry run: university {university} would leave the cache and come back"
        else:
            facts = rollback.rehearse(university, request)
            yield audit_rows.rehearsal(university_name(university), facts)

    def _schema(self, **options: Any) -> Iterator[str]:
        request = request_of(Action.SCHEMA, options)
        name_source_archive.refuse_unless_idle()
        if not name_source_archive.has_column():
            yield "The columns are already archived: nothing to do"
            return
        yield "1. Drop the index idx_employees_profile_source concurrently"
        yield "2. Rename profile_source and profile_last_updated to archived_…; their content stays"
        yield "This release needs both columns: deploy a release that does not use them first"
        if request.is_dry_run:
            yield "Dry run: nothing was written"
            return
        started = time.perf_counter()
        name_source_archive.roll_back()
        if name_source_archive.has_column():
            raise NotVerified("the columns are still there")
        changes.apply(replace(request, facts={"archived": ["profile_source", "profile_last_updated"]}))
        yield "The columns are archived in the table employees. “migrate employees” restores them with their content."
        yield f"Took {time.perf_counter() - started:.2f} s"
