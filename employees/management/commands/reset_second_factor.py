import logging
from argparse import ArgumentParser
from typing import Any

from django.contrib.auth.models import User
from django.core.management.base import CommandError
from django.db import transaction

from config.lib import audit_log, shell_user
from config.lib.commands import BaseCommand
from config.lib.http import access_log
from config.lib.messages import Message
from employees.credentials import second_factor


class Command(BaseCommand):
    help = (
        "Remove the second factor of an account whose phone is lost, and end its sessions and tokens. "
        "The user sets up a new one at the next log-in, so make sure first that it is really the user who asks."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("username", help="the user name of the account")
        parser.add_argument("--dry-run", action="store_true", help="report whether there is one, without removing it")

    def handle(self, *args: Any, username: str, dry_run: bool, **options: Any) -> None:
        user = User.objects.filter(username=username).first()
        if user is None:
            raise CommandError(f"There is no account {username!r}.")
        if not second_factor.is_set_up(user):
            raise CommandError(f"The account {username!r} has no second factor.")
        if dry_run:
            self.stdout.write(f"Dry run: the second factor of {username} was not removed.")
            return
        with transaction.atomic():
            second_factor.reset(user)
            audit_log.record_of(user.pk, Message("Second factor reset by %(by)s", {"by": shell_user.login()}), user)
        access_log.log("second_factor_reset", {}, username, level=logging.WARNING, by=shell_user.user())
        self.stdout.write(
            f"The second factor of {username} is removed, and the account's sessions and tokens have ended."
        )
