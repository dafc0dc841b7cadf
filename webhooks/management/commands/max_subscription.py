from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError

from config.lib import times
from config.lib.commands import BaseCommand
from profiles.max_api.client import MaxError
from webhooks import subscription
from webhooks.payloads import UPDATE_TYPES


class Command(BaseCommand):
    help = "Show, create, remove or check the bot's webhook subscription at MAX."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("verb", choices=["list", "subscribe", "unsubscribe", "check"])
        configured = settings.WEBHOOK_PUBLIC_URL
        parser.add_argument("--url", default=configured, help="the receiver's URL (default: WEBHOOK_PUBLIC_URL)")
        parser.add_argument(
            "--host",
            action="append",
            default=[],
            dest="hosts",
            help="former host of this receiver, whose subscription is to be removed; may be given several times "
            "(the hosts of ALLOWED_HOSTS, --url and WEBHOOK_PUBLIC_URL are known)",
        )
        parser.add_argument("--dry-run", action="store_true", help="show the changes without making them")

    def handle(self, *args: Any, verb: str, url: str, hosts: list[str], dry_run: bool, **options: Any) -> None:
        try:
            if verb == "list":
                self.show()
                return
            if not url:
                raise CommandError("Set WEBHOOK_PUBLIC_URL or give --url.")
            canonical_url = subscription.canonical(url)
            ours = subscription.our_hosts(*hosts, canonical_url.split("/")[2])
            if verb == "check":
                problems = subscription.problems_in(subscription.subscriptions(), canonical_url, ours)
                if problems:
                    raise CommandError("; ".join(map(str, problems)))
                self.stdout.write(f"MAX sends every update once, to {canonical_url}")
            elif verb == "subscribe":
                self.subscribe(canonical_url, ours, dry_run=dry_run)
            else:
                self.unsubscribe(url, dry_run=dry_run)
        except (MaxError, ValueError) as error:
            raise CommandError(str(error)) from error

    def show(self) -> None:
        existing = subscription.subscriptions()
        if not existing:
            self.stdout.write("This bot has no subscriptions.")
            return
        for item in existing:
            since = times.stamp(item.since) if item.since else "an unknown time"
            types = ", ".join(sorted(item.update_types)) if item.update_types < set(UPDATE_TYPES) else ""
            self.stdout.write(f"{item.url} since {since}: {types or 'all update types'}")

    def subscribe(self, url: str, hosts: set[str], *, dry_run: bool) -> None:
        subscription.first_secret()
        existing = subscription.subscriptions()
        if not dry_run:
            for line in subscription.repair(existing, url, hosts, is_renewed=True):
                self.stdout.write(line)
            return
        self.stdout.write(f"Would subscribe {url} to all update types, with a secret")
        for item in subscription.stale_in(existing, url, hosts):
            self.stdout.write(f"Would remove {item.url}")

    def unsubscribe(self, url: str, *, dry_run: bool) -> None:
        if all(item.url != url for item in subscription.subscriptions()):
            raise CommandError(f"MAX has no subscription for {url}")
        if not dry_run:
            subscription.unsubscribe(url)
        self.stdout.write(f"{'Would unsubscribe' if dry_run else 'Unsubscribed'} {url}")
