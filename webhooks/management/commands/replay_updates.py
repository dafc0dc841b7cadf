from argparse import ArgumentParser, ArgumentTypeError
from datetime import datetime
from typing import Any

from django.core.management.base import CommandError
from django.db import transaction
from django.utils import timezone

from config.lib import shell_user
from config.lib.commands import BaseCommand
from profiles.rollout import presenters
from webhooks.models import InboxUpdate, Replay, ReplayRefused, State
from webhooks.payloads import TYPES

_LOOKUPS = {
    "id": "pk__in",
    "state": "state__in",
    "type": "update_type__in",
    "user": "user_id__in",
    "since": "received_at__gte",
    "until": "received_at__lt",
}


class Command(BaseCommand):
    help = "Put finished updates back into the queue. Replaying an update twice has no further effect."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--id", nargs="+", type=int, metavar="N")
        states = [state.value for state in State if state is not State.PENDING]
        parser.add_argument("--state", nargs="+", choices=states)
        parser.add_argument("--type", nargs="+", choices=TYPES, metavar="UPDATE_TYPE", help="a type of MAX, or other")
        parser.add_argument("--user", nargs="+", metavar="MAX_ID")
        parser.add_argument("--since", type=_moment, help="received from then on: 2026-11-25 or 2026-11-25T10:30+03:00")
        parser.add_argument("--until", type=_moment, help="received before; a time without an offset is in TIME_ZONE")
        parser.add_argument("--cancel", type=int, metavar="REPLAY", help="take what a replay has left out of the queue")
        parser.add_argument("--progress", type=int, metavar="REPLAY", help="show how far a replay is")
        parser.add_argument("--reason", default="", help="reason for the audit log")
        parser.add_argument("--dry-run", action="store_true", help="show the counts without replaying")

    def handle(self, *args: Any, reason: str, dry_run: bool, **options: Any) -> None:
        if options["progress"] is not None:
            self._print_progress(_replay(options["progress"]))
            return
        if not reason.strip():
            raise CommandError("--reason must not be empty.")
        if options["cancel"] is not None:
            self._cancel(_replay(options["cancel"]), reason, dry_run=dry_run)
            return
        given = {name: options[name] for name in _LOOKUPS if options[name] is not None}
        if not given:
            raise CommandError(f"Select the updates with one or more of {', '.join(f'--{name}' for name in _LOOKUPS)}.")
        selected = InboxUpdate.objects.filter(**{_LOOKUPS[name]: value for name, value in given.items()})
        preview = selected.replay_preview()
        self.stdout.write(
            f"Can be replayed: {preview.replayable}, without a body: {preview.without_body}, "
            f"already in the queue: {preview.pending}"
        )
        if preview.takes is not None:
            self.stdout.write(f"One inbox worker needs about {presenters.duration(preview.takes)}")
        if dry_run or not preview.replayable:
            return
        # The selection as it would be typed on the command line.
        values = {name: value if isinstance(value, list) else [value.isoformat()] for name, value in given.items()}
        selection = " ".join(f"--{name} {' '.join(map(str, parts))}" for name, parts in values.items())
        with transaction.atomic():
            replay = selected.replay(by=shell_user.user(), reason=reason[:500], selection=selection[:500])
        self.stdout.write(f"Put back into the queue: {replay.count}, as replay {replay.pk}")

    def _print_progress(self, replay: Replay) -> None:
        cancelled = sum(replay.cancellations.values_list("count", flat=True))
        self.stdout.write(f"Updates: {replay.count}, waiting: {replay.waiting}, cancelled: {cancelled}")

    def _cancel(self, replay: Replay, reason: str, *, dry_run: bool) -> None:
        if dry_run:
            self.stdout.write(f"Would be as before: {replay.waiting}")
            return
        try:
            cancelled = replay.cancel(by=shell_user.user(), reason=reason[:500])
        except ReplayRefused as refused:
            raise CommandError(str(refused)) from None
        self.stdout.write(f"As before: {cancelled.count}")


def _replay(pk: int) -> Replay:
    replay = Replay.objects.filter(pk=pk).first()
    if replay is None:
        raise CommandError(f"There is no replay {pk}.")
    return replay


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ArgumentTypeError(f"{text!r} is not a date or time such as 2026-11-25T10:30+03:00") from None
    return moment if moment.tzinfo else timezone.make_aware(moment)
