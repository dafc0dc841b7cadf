from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError
from django.db import transaction
from django.template.loader import render_to_string
from django.utils import timezone, translation

from config.lib import shell_user
from config.lib.commands import BaseCommand
from employees import person_export
from employees.accounts import Group, UserScope
from profiles import phones
from profiles.user_ids import user_id_of


class Command(BaseCommand):
    help = (
        "Export everything that is stored about one person, as JSON or as a page to read, and record this in the audit "
        "log. Backups and log files are not included."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        who = parser.add_mutually_exclusive_group(required=True)
        who.add_argument("--phone", default="", help="the phone, in any Russian spelling or with + and country code")
        who.add_argument("--user-id", "--max-id", default="", help="the MAX user ID")
        parser.add_argument("--format", choices=["json", "html"], default="json", help="default: json")
        languages = [code for code, _name in settings.LANGUAGES]
        parser.add_argument("--language", choices=languages, default=settings.LANGUAGE_CODE, help="of the page")
        parser.add_argument("--output", type=Path, help="a new file, readable by you alone; default: standard output")

    def handle(self, *args: Any, phone: str, user_id: str, language: str, output: Path | None, **options: Any) -> None:
        try:
            query = {"phone": phones.normalize(phone)} if phone else {"user_id": user_id_of(user_id)}
        except ValueError as error:
            raise CommandError(str(error)) from None
        everybody = UserScope(Group.SUPERADMIN)
        person = person_export.identify(everybody, **query)
        # Nothing is recorded if the file cannot be written.
        with translation.override(language), transaction.atomic():
            tables = person_export.export(person, by=shell_user.user()) if person else []
            if person is None or not tables:
                raise CommandError("Nothing is stored about this person.")
            if options["format"] == "html":
                context = {"person": person, "tables": tables, "at": timezone.now(), "language": language}
                text: str = render_to_string("employees/person_export_page.html", context)
            else:
                text = person_export.as_json(person, tables)
            try:
                self._write(text, output)
            except OSError as error:
                raise CommandError(f"Cannot write {output}: {error.strerror}") from None

    def _write(self, text: str, output: Path | None) -> None:
        if output is None:
            self.stdout.write(text)
            return
        output.touch(mode=0o600, exist_ok=False)
        output.write_text(text + "\n", encoding="utf-8")
        self.stdout.write(f"Written to {output}")
