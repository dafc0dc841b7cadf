"""The guide's post-migration validation: send an update about a synthetic person, and create an employee for them.

The person's profile, Redis entry and updates are always removed, and the employee is never committed. The webhook's
counters leave out synthetic updates.
"""

import json
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field

import requests
from django.conf import settings
from django.db import DatabaseError, transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from employees.models import Employee, University
from employees.naming import create_employee
from monitoring.indicators import probe, rounds
from monitoring.stats import reports
from profiles import cache, failures
from profiles.lookup import resolve
from profiles.models import PhoneLink, Profile, ProfileSource
from profiles.rollout.decision import decide, is_collecting, is_monitored, is_processing
from webhooks.models import DuplicateDelivery, InboxUpdate, State
from webhooks.payloads import duplicate_keys

FIRST_NAME, LAST_NAME = "Synthetic", "Validation"
# Synthetic MAX IDs start here: above every real one so far, and within int64.
_FIRST_ID = 9_000_000_000_000_000_000
_IDS = 10**15
_PHONES = 1000
PATIENCE_SECONDS = 10.0
SECRET_HEADER = "X-Max-Bot-Api-Secret"  # noqa: S105 (a header's name)


class Failed(Exception):
    """Raised when a validation step fails; the exception's text is the reason."""


class Skipped(Exception):
    """Raised when a validation step has nothing to check in this phase; the exception's text is the reason."""


@dataclass(frozen=True, slots=True)
class CheckResult:
    """The result of a validation step: ``status`` is ``ok``, ``skipped`` or ``failed``; ``message`` is for people."""

    step: str
    status: str
    message: str
    took_ms: float


@dataclass
class Validation:
    """A run with one synthetic person. ``url`` is the web server to use; None means the webhook in this process."""

    url: str | None = None
    patience: float = PATIENCE_SECONDS
    user_id: str = field(default_factory=lambda: str(_FIRST_ID + secrets.randbelow(_IDS)))
    key: bytes = b""
    body: bytes = b""

    def run(self) -> Iterator[CheckResult]:
        """Yield the result of each step, up to the first that fails, and finally whether all traces were removed."""
        try:
            for step in (
                self.database, self.redis, self.webhook, self.wrong_secret, self.repeat, self.inbox, self.profile,
                self.cached, self.employee, self.monitoring,
            ):  # fmt: skip
                result = _try(step)
                yield result
                if result.status == "failed":
                    break
        finally:
            self._remove()
        yield _try(self.no_trace)

    def database(self) -> str:
        return _measured("migrations_missing")

    def redis(self) -> str:
        return _measured("redis_connected")

    def _post(self, body: bytes, secret: str | None) -> int:
        if self.url is None:
            return probe.post(body, secret)
        headers = {"Content-Type": "application/json", "X-Request-ID": probe.synthetic_id()}
        headers |= {SECRET_HEADER: secret} if secret else {}
        url = f"{self.url.rstrip('/')}/webhook/max"
        try:
            return requests.post(url, data=body, headers=headers, timeout=10, allow_redirects=False).status_code
        except requests.RequestException as error:
            params = {"url": self.url, "error": failures.message_for(type(error).__name__)}
            raise Failed(_("%(url)s does not answer: %(error)s") % params) from None

    def webhook(self) -> str:
        now = timezone.now()
        user = {"user_id": int(self.user_id), "first_name": FIRST_NAME, "last_name": LAST_NAME, "is_bot": False}
        update = {"update_type": "bot_started", "timestamp": int(now.timestamp() * 1000), "chat_id": 0, "user": user}
        self.body = json.dumps(update).encode()
        self.key, _earlier = duplicate_keys(update, self.body, now)
        status = self._post(self.body, probe.secret())
        if status != requests.codes.ok:
            raise Failed(_("an update with the right secret was answered with %d, not 200") % status)
        return _("an update with the right secret was answered with 200")

    def wrong_secret(self) -> str:
        if not settings.WEBHOOK_SECRETS:
            raise Skipped(_("WEBHOOK_SECRET is not set"))
        status = self._post(b"{}", "wrong-" + secrets.token_hex(8))
        if status != requests.codes.unauthorized:
            raise Failed(_("a request with a wrong secret was answered with %d, not 401") % status)
        return _("a request with a wrong secret was answered with 401")

    def repeat(self) -> str:
        self._post(self.body, probe.secret())
        if InboxUpdate.objects.filter(dedup_key=self.key).count() != 1:
            raise Failed(_("after a duplicate delivery, the inbox has the update twice or not at all"))
        return _("a duplicate delivery was recognised")

    def inbox(self) -> str:
        if not is_processing():
            raise Failed(_("processing is off: updates are only stored"))
        started = time.perf_counter()
        while True:
            update = InboxUpdate.objects.filter(dedup_key=self.key).first()
            if update is not None and update.state != State.PENDING:
                break
            if time.perf_counter() - started > self.patience:
                raise Failed(_("not processed within %g s; check that the inbox worker is running") % self.patience)
            time.sleep(0.02)
        if update.state == State.SKIPPED and not is_collecting():
            raise Failed(_("collection is off: phase 2 is at 0%, or switched off"))
        if update.state != State.DONE:
            params = {"state": update.state, "why": update.reason}
            raise Failed(_("the update ended in the state “%(state)s”: %(why)s") % params)
        return _("processed in %d ms") % (1000 * (time.perf_counter() - started))

    def profile(self) -> str:
        profile = Profile.objects.filter(user_id=self.user_id).first()
        if profile is None or (profile.first_name, profile.last_name) != (FIRST_NAME, LAST_NAME):
            raise Failed(_("profile_cache does not contain the names from the update"))
        return _("profile_cache has the names")

    def cached(self) -> str:
        try:
            stored = cache.read(self.user_id)
        except cache.CacheError as error:
            raise Failed(_("Redis does not answer: %s") % failures.message_for(str(error))) from None
        if stored is None or stored.display_name != f"{FIRST_NAME} {LAST_NAME}":
            raise Failed(_("Redis does not have the profile"))
        return _("Redis has the profile")

    def employee(self) -> str:
        """Create an employee as a request would, check the source of the name, and roll the transaction back."""
        # Nobody has these phones: after +7, no Russian number begins with a zero.
        phones = (f"+7000{number:07d}" for number in range(_PHONES))
        phone = next((phone for phone in phones if decide(phone).stage >= 3), None)
        if phone is None:
            raise Skipped(_("no names come from the cache yet: phase 3 is at 0%, or switched off"))
        with transaction.atomic():
            name = resolve(phone=phone, max_id=self.user_id, university_id=None)
            university = University.objects.first() or University.objects.create(name="synthetic")
            employee = create_employee(name, phone=phone, university=university)
            transaction.set_rollback(True)
        if employee.profile_source != ProfileSource.WEBHOOK or employee.first_name != FIRST_NAME:
            raise Failed(_("an employee would get the name from %s, not from the webhook") % employee.profile_source)
        return _("an employee would get this name, with profile_source = webhook")

    def monitoring(self) -> str:
        if not is_monitored():
            raise Skipped(_("monitoring is switched off"))
        covered, stats = reports.coverage(), reports.webhook_stats("hour")
        reports.quality()
        reports.cache_health()
        if not covered["users_with_profiles"]:
            raise Failed(_("the reports do not include the synthetic person"))
        params = {"coverage": covered["coverage_percentage"], "events": stats["total_events"]}
        return _("the reports work: coverage %(coverage)s%%, updates in the last hour: %(events)d") % params

    def no_trace(self) -> str:
        rows = (
            Profile.objects.filter(user_id=self.user_id),
            PhoneLink.objects.filter(user_id=self.user_id),
            InboxUpdate.objects.filter(dedup_key=self.key),
            DuplicateDelivery.objects.filter(dedup_key=self.key),
            Employee.objects.filter(max_id=self.user_id),
        )
        left = sum(queryset.count() for queryset in rows)
        with suppress(cache.CacheError):
            left += int(cache.read(self.user_id) is not None)
        if left:
            params = {"count": left, "id": self.user_id}
            raise Failed(
                _("data of the synthetic person %(id)s is left in PostgreSQL or Redis (entries: %(count)d)") % params
            )
        return _("no data of the synthetic person is left in PostgreSQL or Redis")

    @transaction.atomic
    def _remove(self) -> None:
        # Delete the update first: this waits for a worker that is processing it, which might create the profile again.
        InboxUpdate.objects.filter(dedup_key=self.key).delete()
        DuplicateDelivery.objects.filter(dedup_key=self.key).delete()
        Profile.objects.filter(user_id=self.user_id).delete()
        with suppress(cache.CacheError):
            cache.delete(self.user_id)


def _measured(indicator: str) -> str:
    reading = rounds.measure([indicator])[indicator]
    if not reading.is_ok:
        raise Failed(str(reading.sentence))
    return str(reading.sentence)


def _try(step: Callable[[], str]) -> CheckResult:
    started = time.perf_counter()
    status = "ok"
    try:
        message = step()
    except Skipped as reason:
        status, message = "skipped", str(reason)
    except Failed as reason:
        status, message = "failed", str(reason)
    except DatabaseError as error:
        status, message = "failed", f"PostgreSQL: {failures.message_for(type(error).__name__)}"
    return CheckResult(step.__name__, status, message, round(1000 * (time.perf_counter() - started), 1))
