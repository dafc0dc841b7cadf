from argparse import ArgumentParser
from datetime import UTC
from typing import Any, TextIO, cast

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from rich.console import Console
from rich.table import Column, Table

from profiles.max_api.client import MaxError
from webhooks import subscription
from webhooks.subscription import Subscription


class Command(BaseCommand):
    help = "Show, set up, remove or check the bot's subscription to updates at MAX."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("verb", choices=["list", "subscribe", "unsubscribe", "check"])
        ours = settings.WEBHOOK_PUBLIC_URL
        parser.add_argument("--url", default=ours, help="the receiver's public address (default: WEBHOOK_PUBLIC_URL)")
        parser.add_argument(
            "--host",
            action="append",
            default=[],
            dest="hosts",
            help="a former host of ours, whose subscriptions are stale; repeatable "
            "(ALLOWED_HOSTS and the hosts of --url and WEBHOOK_PUBLIC_URL are known)",
        )
        parser.add_argument("--dry-run", action="store_true", help="say what would be done, and do nothing")

    def handle(self, *args: Any, verb: str, url: str, hosts: list[str], dry_run: bool, **options: Any) -> None:
        try:
            if verb == "list":
                self.show(subscription.subscriptions())
                return
            if not url:
                raise CommandError("give --url, or set WEBHOOK_PUBLIC_URL")
            address = subscription.canonical(url)
            ours = subscription.our_hosts(*hosts, address.split("/")[2])
            if verb == "check":
                self.compare(address, ours)
            elif verb == "subscribe":
                self.subscribe(address, ours, dry_run=dry_run)
            else:
                self.unsubscribe(url, dry_run=dry_run)
        except (MaxError, ValueError) as error:
            raise CommandError(str(error)) from error

    def show(self, existing: list[Subscription]) -> None:
        if not existing:
            self.stdout.write("MAX sends this bot's updates nowhere")
            return
        table = Table(Column("URL", no_wrap=True), "since, UTC", "update types")
        for item in existing:
            since = f"{item.since.astimezone(UTC):%F %R}" if item.since else ""
            types = ", ".join(sorted(item.update_types)) if item.update_types < set(subscription.UPDATE_TYPES) else ""
            table.add_row(item.url, since, types or "all")
        Console(file=cast(TextIO, self.stdout), markup=False, emoji=False, highlight=False).print(table)

    def compare(self, url: str, hosts: set[str]) -> None:
        findings = subscription.problems_in(subscription.subscriptions(), url, hosts)
        if findings:
            raise CommandError("; ".join(result.message for result in findings))
        self.stdout.write(f"MAX sends every update to {url}, once")

    def subscribe(self, url: str, hosts: set[str], *, dry_run: bool) -> None:
        subscription.first_secret()
        stale = subscription.stale_in(subscription.subscriptions(), url, hosts)
        if not dry_run:
            subscription.subscribe(url, replacing=stale)
        for item in stale:
            self.stdout.write(f"{'would remove' if dry_run else 'removed'} {item.url}")
        self.stdout.write(f"{'would subscribe' if dry_run else 'subscribed'} {url} to every update type, with a secret")

    def unsubscribe(self, url: str, *, dry_run: bool) -> None:
        if all(item.url != url for item in subscription.subscriptions()):
            raise CommandError(f"MAX knows no subscription of {url}")
        if not dry_run:
            subscription.unsubscribe(url)
        self.stdout.write(f"{'would unsubscribe' if dry_run else 'unsubscribed'} {url}")
