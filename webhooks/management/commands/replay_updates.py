from argparse import ArgumentParser, ArgumentTypeError
from datetime import UTC, datetime
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import transaction

from config.lib import shell_user
from webhooks import payloads
from webhooks.models import InboxUpdate, State
from webhooks.replay_preview import outlook

_LOOKUPS = {
    "id": "pk__in",
    "state": "state__in",
    "type": "update_type__in",
    "user": "user_id__in",
    "since": "received_at__gte",
    "until": "received_at__lt",
}


class Command(BaseCommand):
    help = "Put finished updates of the inbox back into the queue; doing it twice changes nothing."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--id", nargs="+", type=int, metavar="N")
        states = [state.value for state in State if state is not State.PENDING]
        parser.add_argument("--state", nargs="+", choices=states)
        parser.add_argument("--type", nargs="+", choices=payloads.TYPES, metavar="UPDATE_TYPE", help="MAX's, or other")
        parser.add_argument("--user", nargs="+", metavar="MAX_ID")
        parser.add_argument("--since", type=_moment, help="received from then on: 2026-11-25 or 2026-11-25T10:30+03:00")
        parser.add_argument("--until", type=_moment, help="received before; without an offset the time is UTC")
        parser.add_argument("--reason", required=True, help="why, for the audit")
        parser.add_argument("--dry-run", action="store_true", help="say how many, and do nothing")

    def handle(self, *args: Any, reason: str, dry_run: bool, **options: Any) -> None:
        given = {name: options[name] for name in _LOOKUPS if options[name] is not None}
        if not given:
            raise CommandError(f"say which updates: {', '.join(f'--{name}' for name in _LOOKUPS)}")
        if not reason.strip():
            raise CommandError("--reason must say why")
        selected = InboxUpdate.objects.filter(**{_LOOKUPS[name]: value for name, value in given.items()})
        expected = outlook(selected)
        self.stdout.write(
            f"can be replayed: {expected.replayable}, without a body: {expected.without_body}, "
            f"waiting anyway: {expected.pending}"
        )
        if dry_run or not expected.replayable:
            return
        with transaction.atomic():
            count = selected.replay(by=shell_user.user(), reason=reason[:500], selection=_written(given)[:500])
        self.stdout.write(f"put back into the queue: {count}")


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ArgumentTypeError(f"{text!r} is not a date or time such as 2026-11-25T10:30+03:00") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _written(given: dict[str, Any]) -> str:
    """Return the selection as it would be given again."""
    values = {name: value if isinstance(value, list) else [value.isoformat()] for name, value in given.items()}
    return " ".join(f"--{name} {' '.join(map(str, parts))}" for name, parts in values.items())
