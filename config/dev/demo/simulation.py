"""Simulate two weeks of updates and new employees in memory, with the system's own rules for names and comparisons."""

import json
import random
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from operator import attrgetter
from typing import Any

from config.dev.demo.people import Person, person
from config.dev.demo.story import MOSCOW, Story
from config.dev.demo.updates import update_of
from employees.models import Employee
from profiles import comparison
from profiles.cache.cached_profile import CachedProfile
from profiles.merge import ProfileUpdate
from profiles.models import Comparison, ComparisonOutcome, ProfileSource
from profiles.name_rule import (
    CACHE_FIRST,
    CACHE_PRIMARY,
    Answer,
    Known,
    KnownProfile,
    NameChoice,
    NoAnswer,
    Policy,
    UserFound,
    choose_name,
)
from profiles.rollout.decision import bucket
from webhooks import payloads
from webhooks.models import OTHER, DuplicateDelivery, InboxUpdate, State

TTL = timedelta(hours=720)
_BODY_KEPT = timedelta(hours=72)
# The share of the employees who were hired before the two weeks.
_EARLIER = 0.3
_HOUR, _DENSE, _DENSE_FOR = timedelta(hours=1), timedelta(minutes=10), timedelta(hours=8)
_DEAD_AGE = timedelta(hours=5)
_TRACEBACK = """Traceback (most recent call last):
  File "webhooks/processing.py", line 82, in _process
    changed = Profile.objects.merge([profile_update for _, profile_update in extracted])
django.db.utils.OperationalError: canceling statement due to lock timeout"""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Row counts of the tables at one time; ``compared`` counts the comparison outcomes of the preceding seven days.

    ``updated_at`` is the time of the last update. ``compared_until`` is the number of comparisons from the start
    of the simulation to this snapshot.
    """

    at: datetime
    sources: Counter[str]
    complete: int
    profiles: int
    users: int
    users_with_profiles: int
    full_names: int
    compared: Counter[str]
    updated_at: datetime
    compared_until: int


@dataclass
class Simulation:
    """The rows that the two weeks leave in the tables; ``count`` is the number of employees."""

    story: Story
    universities: list[int]
    count: int
    seed: int
    salt: str
    employees: list[Employee] = field(default_factory=list)
    created_at: list[datetime] = field(default_factory=list)
    updates: list[InboxUpdate] = field(default_factory=list)
    duplicates: list[DuplicateDelivery] = field(default_factory=list)
    has_quarantined: bool = False
    profiles: dict[str, ProfileUpdate] = field(default_factory=dict)
    comparisons: list[Comparison] = field(default_factory=list)
    backfilled: list[list[Any]] = field(default_factory=list)
    snapshots: list[Snapshot] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.random = random.Random(f"history {self.seed}")  # noqa: S311 (no secret)
        self.unresolved: list[tuple[Employee, Person]] = []
        # The first, last and own name of each profile.
        self.names: dict[str, tuple[str | None, ...]] = {}

    def run(self) -> "Simulation":
        for at, _order, act, *arguments in sorted(self._events(), key=lambda event: event[:2]):
            act(at, *arguments)
        return self

    def _events(self) -> Iterator[tuple[Any, ...]]:
        """Yield each event as a tuple: the time, a sort number, the method to call, and its arguments.

        The sort number orders events of the same time.
        """
        story, earlier = self.story, round(self.count * _EARLIER)
        for number in range(self.count):
            who = person(number)
            hired_at = story.start - timedelta(days=2 + 700 * self.random.random() ** 2)
            if number >= earlier:
                hired_at = self._moment(story.start + timedelta(days=1), story.now)
            yield hired_at, number, self._hire, who
            for at in self._writes(who, hired_at):
                yield at, self.count + number, self._receive, who
        yield from self._recent_events([who for who in map(person, range(earlier)) if who.writes])
        last = 3 * self.count
        yield story.outage[1], last, self._retry_unresolved
        yield story.backfilled_at, last, self._backfill
        recent = [story.now - timedelta(hours=hours) for hours in range(48)]
        # Pages show the gates of the last hours, so there are more snapshots of these hours.
        recent += [story.now - number * _DENSE for number in range(1, _DENSE_FOR // _DENSE) if number * _DENSE % _HOUR]
        checks = [story.now - timedelta(minutes=minutes) for minutes in (2, 4, 6)]
        for at in (*recent, *checks, *(story.now - timedelta(hours=hours) for hours in range(48, 24 * 14, 6))):
            if at > story.start:
                yield at, last + self.count, self._photograph

    def _recent_events(self, writers: list[Person]) -> Iterator[tuple[Any, ...]]:
        """Yield the updates that become dead letters, and updates of the last hour.

        The last hour always has updates, even outside working hours.
        """
        now, order = self.story.now, 2 * self.count
        for number in range(max(self.count // 400, 2)):
            yield now - _DEAD_AGE + number * timedelta(minutes=6), order, self._fail, self.random.choice(writers)
        for number in range(max(self.count // 50, 40)):
            at = now - timedelta(minutes=55 * self.random.random())
            yield at, order + number, self._receive, self.random.choice(writers)

    def _writes(self, who: Person, hired_at: datetime) -> Iterator[datetime]:
        """Yield the times when a person writes to the bot: the first is usually before they are hired."""
        since = max(hired_at - timedelta(hours=20 + 20 * self.random.random()), self.story.start)
        if not who.writes:
            return
        until = hired_at if hired_at > since and self.random.random() < 0.94 else self.story.now
        yield self._moment(since, until)
        for _ in range(self.random.choices((0, 1, 2, 3, 5, 9), (14, 22, 24, 20, 14, 6))[0]):
            yield self._moment(since, self.story.now)

    def _moment(self, since: datetime, until: datetime) -> datetime:
        """Return a random time; most are in working hours, few at night and at weekends, none in the delivery gap."""
        while True:
            at = since + self.random.random() * (until - since)
            local = at + MOSCOW
            weight = 1.0 if 8 <= local.hour < 20 else 0.3 if 6 <= local.hour < 23 else 0.03
            is_silent = self.story.delivery_gap[0] <= at < self.story.delivery_gap[1]
            if self.random.random() < weight * (0.3 if local.weekday() > 4 else 1) * (not is_silent):
                return at

    def _receive(self, at: datetime, who: Person) -> None:
        """Store an update from the person, and merge its names into the profile if updates are collected."""
        update = self._update_of(who, at)
        row = self._store(update, at)
        draw, age = self.random.random(), self.story.now - at
        if at < self.story.collecting_since:
            row.state = State.SKIPPED
        elif (draw < 0.004 and age > timedelta(hours=1)) or (age < timedelta(minutes=30) and not self.has_quarantined):
            # Quarantine one update of the last hour, whatever the draws are: a single one causes no alert.
            self.has_quarantined = self.has_quarantined or age < timedelta(hours=1)
            row.state, row.reason, row.update_type = State.QUARANTINED, "the body is not JSON", OTHER
            row.body, row.processing_ms = row.body and row.body[:-9], None
        else:
            reading = payloads.read(update, at)
            row.user_id, row.has_names = reading.user_id, reading.profile_update is not None
            row.has_changed_profile = row.has_names
            if reading.profile_update:
                earlier = self.profiles.get(reading.user_id, reading.profile_update)
                merged = self.profiles[reading.user_id] = earlier.merge(reading.profile_update)
                self.names[reading.user_id] = tuple(value and value.value for value in merged.values)
        if draw > 0.985:
            repeat = DuplicateDelivery(dedup_key=row.dedup_key, update_type=row.update_type, is_conflict=False)
            repeat.received_at = at + timedelta(seconds=3)
            self.duplicates.append(repeat)

    def _fail(self, at: datetime, who: Person) -> None:
        """Store an update that became a dead letter after all attempts."""
        row = self._store(update_of(who, "message_callback", at, f"{self.random.getrandbits(80):020x}"), at)
        row.state, row.reason, row.error, row.tries = State.DEAD, "OperationalError", _TRACEBACK, 6
        # The inbox worker reads the sender before the attempt fails.
        row.user_id = who.user_id
        row.finished_at, row.processing_ms = at + timedelta(minutes=13), None

    def _store(self, update: dict[str, Any], at: datetime) -> InboxUpdate:
        body = json.dumps(update, ensure_ascii=False).encode()
        row = InboxUpdate(
            dedup_key=payloads.duplicate_keys(update, body, at)[0],
            body=body if at > self.story.now - _BODY_KEPT else None,
            update_type=payloads.type_of(update),
            state=State.DONE,
            received_at=at,
            next_try_at=at,
            request_id=f"{self.random.getrandbits(64):016x}",
            processing_ms=self.random.lognormvariate(0.3, 0.5),
        )
        row.finished_at = at + timedelta(milliseconds=15 + (row.processing_ms or 0))
        self.updates.append(row)
        return row

    def _update_of(self, who: Person, at: datetime) -> dict[str, Any]:
        is_new = who.user_id not in self.profiles
        kind = "bot_started" if is_new and not who.own_name else "message_created"
        if not is_new and self.random.random() < 0.12:
            kind = "message_callback"
        text = f"/setname {who.own_name}" if is_new and who.own_name else "Здравствуйте"
        return update_of(who, kind, at, f"{self.random.getrandbits(80):020x}", text=text)

    def _hire(self, at: datetime, who: Person) -> None:
        employee = Employee(phone=who.phone, university_id=self.universities[who.university])
        self.employees.append(employee)
        self.created_at.append(at)
        if self.random.random() < 0.16:
            employee.first_name, employee.last_name, employee.middle_name = (
                who.first_name,
                who.last_name,
                who.middle_name,
            )
            employee.profile_source = ProfileSource.MANUAL
            employee.max_id = who.user_id if who.account and self.random.random() < 0.5 else None
            employee.max_id_updated_at = at if employee.max_id else None
            return
        state = self.story.state_at(at, self.universities, self.salt)
        stage = state.stage_of(who.phone, employee.university_id)[0]
        given_id = who.user_id if who.account and self.random.random() < 0.5 else None
        answer = self._direct_answer(who, at)
        choice, asked = self._choose(given_id, answer, Policy(stage, TTL, has_token=True), at)
        self._set_name(employee, choice, at)
        if choice.is_unresolved:
            self.unresolved.append((employee, who))
        if stage in comparison.COMPARED_STAGES:
            self._compare(at, employee, stage, answer, choice, was_asked=asked)

    def _direct_answer(self, who: Person, at: datetime) -> Answer:
        begin, end = self.story.outage
        if begin <= at < end:
            return NoAnswer.FAILED
        name = who.direct_name
        if name is not None and who.number % 110 == 11 and self.story.start < at < self.story.at(8, 0):
            # The person has changed the name in MAX, and has not written to the bot since.
            name = who.other_name()
        return UserFound(*name, who.user_id) if name else NoAnswer.ABSENT

    def _choose(self, max_id: str | None, answer: Answer, policy: Policy, at: datetime) -> tuple[NameChoice, bool]:
        """Return the name that a lookup chooses, and whether it calls the direct API.

        The rule is the same as in profiles.lookup.lookup_name.
        """
        known = self._known(max_id) if policy.uses_cache else Known(max_id)
        choice = choose_name(known, NoAnswer.NOT_ASKED, policy, at)
        if not choice.needs_direct_api:
            return choice, False
        if policy.uses_cache and max_id is None and isinstance(answer, UserFound):
            known = self._known(answer.user_id)
        return choose_name(known, answer, policy, at), True

    def _known(self, max_id: str | None) -> Known:
        stored = self.profiles.get(max_id or "")
        if stored is None:
            return Known(max_id)
        first, last, own = (value and value.value for value in stored.values)
        return Known(max_id, KnownProfile(first or "", last, own or "", stored.received_at))

    def _set_name(self, employee: Employee, choice: NameChoice, at: datetime) -> None:
        employee.first_name, employee.last_name = choice.first_name, choice.last_name
        employee.middle_name = employee.middle_name or choice.middle_name
        employee.profile_source, employee.profile_last_updated = choice.source, choice.updated_at
        if choice.max_id and not employee.max_id:
            employee.max_id, employee.max_id_updated_at = choice.max_id, at

    def _compare(
        self, at: datetime, employee: Employee, stage: int, answer: Answer, choice: NameChoice, *, was_asked: bool
    ) -> None:
        """Record the comparison of the two names of a lookup: the cache's and the direct API's.

        In the real system, the task worker makes the comparison after the response.
        """
        api_name = ""
        if isinstance(answer, UserFound):
            api_name = f"{answer.first_name} {answer.last_name}".strip()
        max_id = choice.max_id or (answer.user_id if isinstance(answer, UserFound) else None)
        cached = self._cached(max_id or "")
        outcome = comparison.classify(cached, api_name)
        if answer is NoAnswer.FAILED:
            cached, outcome = None, ComparisonOutcome.API_ERROR
        max_name = f"{cached.max_first_name} {cached.max_last_name}".strip() if cached else ""
        is_conflict = outcome == ComparisonOutcome.CONFLICT
        served_ms = self.random.lognormvariate(5.0, 0.35) if was_asked else self.random.lognormvariate(1.6, 0.4)
        row = Comparison(
            at=at,
            key_hash=comparison.hash_of(employee.phone),
            bucket=bucket(self.salt, employee.phone),
            university_id=employee.university_id,
            stage=stage,
            outcome=outcome,
            pattern=comparison.conflict_pattern(max_name, api_name) if is_conflict else "",
            cache_name=comparison.masked(cached.display_name) if cached else "",
            api_name=comparison.masked(api_name),
            served_source=choice.source,
            served_ms=served_ms,
        )
        if cached and cached.last_updated:
            row.cache_age_days = (at - cached.last_updated) / timedelta(days=1)
        self.comparisons.append(row)

    def _cached(self, max_id: str) -> CachedProfile | None:
        profile = self._known(max_id).profile
        if profile is None:
            return None
        source = ProfileSource.USER_INPUT if profile.user_provided_name else ProfileSource.WEBHOOK
        names = (profile.first_name, profile.last_name or "", profile.user_provided_name)
        return CachedProfile(max_id, *names, profile.last_updated, source)

    def _retry_unresolved(self, at: datetime) -> None:
        for employee, who in self.unresolved:
            policy = Policy(2, TTL, has_token=True)
            self._set_name(employee, self._choose(employee.max_id, self._direct_answer(who, at), policy, at)[0], at)

    def _backfill(self, at: datetime) -> None:
        """Fill in the names of employees who have none, from the profiles that are known at the time ``at``.

        Employees of a denied university are left out, as in employees.backfill.candidates.choose. Record the old and
        new values.
        """
        denied = self.story.state_at(at, self.universities, self.salt).denied
        for place, employee in enumerate(self.employees):
            if employee.profile_source != ProfileSource.DEFAULT or not employee.max_id:
                continue
            if denied.get(employee.university_id, CACHE_PRIMARY) <= CACHE_FIRST:
                continue
            policy = Policy(CACHE_FIRST, TTL, has_token=True)
            choice = choose_name(self._known(employee.max_id), NoAnswer.NOT_ASKED, policy, at)
            if choice.is_cached:
                before = _values(employee)
                self._set_name(employee, choice, at)
                self.backfilled.append([place, before, _values(employee)])

    def _photograph(self, at: datetime) -> None:
        full, complete = set(), 0
        for user_id, (first, last, own) in self.names.items():
            complete += bool(first) and last is not None
            if own or (first and last):
                full.add(user_id)
        ids = [employee.max_id for employee in self.employees]
        strangers = self.names.keys() - set(ids)
        first_of_week = bisect_right(self.comparisons, at - timedelta(days=7), key=attrgetter("at"))
        self.snapshots.append(
            Snapshot(
                at,
                sources=Counter(str(employee.profile_source) for employee in self.employees),
                complete=complete,
                profiles=len(self.names),
                users=len(ids) + len(strangers),
                users_with_profiles=sum(user_id in self.names for user_id in ids) + len(strangers),
                full_names=sum(user_id in full for user_id in ids) + len(strangers & full),
                compared=Counter(row.outcome for row in self.comparisons[first_of_week:]),
                updated_at=self.updates[-1].received_at if self.updates else self.story.start,
                compared_until=len(self.comparisons),
            )
        )


def _values(employee: Employee) -> list[Any]:
    at = employee.profile_last_updated
    names = [employee.first_name, employee.last_name, employee.middle_name]
    return [*names, str(employee.profile_source), at and at.isoformat(), employee.max_id]
