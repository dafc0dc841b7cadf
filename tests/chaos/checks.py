"""What must be true at the end: everything acknowledged is there, and nothing that was erased is anywhere."""

import json
from collections import Counter
from dataclasses import dataclass, field
from datetime import timedelta

import psycopg
import redis
from psycopg import sql

from tests.chaos.employee_load import EmployeeLoad
from tests.chaos.people_load import ERASED_PREFIX, Erasures, Renames
from tests.chaos.rollout_load import RolloutLoad, lost_changes, served_while_stopped
from tests.chaos.system import System
from tests.chaos.updates import Updates
from tests.chaos.webhook_load import WebhookLoad

# A clock that was set is an hour off; a copy arrives within the run.
_STEP = timedelta(minutes=30)
UNAVAILABLE = "PostgreSQL is unavailable"
ERASED = "erased people who are still somewhere"
_UNPROCESSED = "updates not processed"
_WRONG_PROFILES = "profiles in PostgreSQL that differ from their newest update"
_WRONG_ENTRIES = "profiles in Redis that differ from their newest update"
# What becomes right after the last fault; all else that is wrong stays wrong.
WAITED_FOR = (UNAVAILABLE, _UNPROCESSED, _WRONG_PROFILES, _WRONG_ENTRIES)
_TEXT_TABLES = """
SELECT table_name FROM information_schema.tables WHERE table_schema = 'public' AND table_type = 'BASE TABLE'
"""
_NAMELESS = """
SELECT e.phone FROM employees e LEFT JOIN unresolved_names u ON u.employee_id = e.id
WHERE e.profile_source = 'default' AND u.employee_id IS NULL AND e.phone = ANY(%s)
"""


@dataclass
class Loads:
    """What was sent, with what was acknowledged of it."""

    updates: Updates
    webhook: WebhookLoad
    employees: EmployeeLoad
    erasures: Erasures
    renames: Renames
    rollout: RolloutLoad


@dataclass
class Findings:
    """Texts about what is wrong, by what it is about; all are empty after a run in which every promise was kept."""

    found: dict[str, list[str]] = field(default_factory=dict)

    def add(self, meaning: str, texts: list[str]) -> None:
        self.found[meaning] = texts

    def wrong(self) -> dict[str, list[str]]:
        return {meaning: texts for meaning, texts in self.found.items() if texts}


def check(system: System, loads: Loads) -> Findings:
    """Compare what was acknowledged with the stores; raise psycopg.Error while PostgreSQL is unavailable."""
    findings = Findings()
    with system.database() as database:
        _check_inbox(database, loads, findings)
        _check_profiles(database, system, loads, findings)
        _check_employees(database, loads, findings)
        findings.add("acknowledged changes of the rollout lost", lost_changes(database, loads.rollout))
        _check_erased(database, system, loads.erasures, findings)
    findings.add(
        "names from the cache during an emergency stop", served_while_stopped(loads.rollout, loads.employees.created)
    )
    return findings


def _check_inbox(database: psycopg.Connection, loads: Loads, findings: Findings) -> None:
    sent = set(loads.updates.bodies)
    stored = database.cursor(binary=True).execute("SELECT body, state, received_at FROM webhook_inbox").fetchall()
    rows = [row for row in stored if row[0] in sent]
    counts = Counter(body for body, _, _ in rows)
    acknowledged_at = loads.webhook.first_acknowledged_at
    missing = acknowledged_at.keys() - counts.keys()
    findings.add("acknowledged updates missing in the inbox", [body.decode() for body in missing])
    # A row that is newer than the first acknowledgement comes from a later copy: the acknowledged one was lost.
    delays = {body: at - acknowledged_at[body] for body, _, at in rows if body in acknowledged_at}
    late = [f"{delay} later: {body.decode()}" for body, delay in delays.items() if timedelta() < delay < _STEP]
    findings.add("acknowledged updates lost, and stored from a later copy", late)
    findings.add("updates stored more than once", [body.decode() for body, count in counts.items() if count > 1])
    unprocessed = Counter(state for _, state, _ in rows if state != "done")
    findings.add(_UNPROCESSED, [f"{count} {state}" for state, count in unprocessed.items()])
    unsent = len(loads.webhook.deliveries) - loads.webhook.acknowledged
    findings.add("deliveries never acknowledged", [f"{unsent} deliveries"] if unsent else [])


def _check_profiles(database: psycopg.Connection, system: System, loads: Loads, findings: Findings) -> None:
    expected = loads.updates.expected()
    query = "SELECT user_id, first_name, last_name, user_provided_name FROM profile_cache WHERE user_id = ANY(%s)"
    stored = {
        user_id: tuple(name or "" for name in names)
        for user_id, *names in database.execute(query, [[*expected, loads.renames.user_id]]).fetchall()
    }
    wrong = [
        f"{user_id}: {stored.get(user_id)} instead of {names}"
        for user_id, names in expected.items()
        if stored.get(user_id) != names
    ]
    findings.add(_WRONG_PROFILES, wrong)
    renamed = stored.get(loads.renames.user_id, ("", "", ""))[2]
    is_stale = loads.renames.acknowledged and renamed not in loads.renames.possible()
    stale = [f"{renamed!r} instead of {loads.renames.acknowledged!r} is stored"] if is_stale else []
    findings.add("names by hand that were acknowledged and are not there", [*loads.renames.stale, *stale])
    try:
        entries = system.cache().mget([f"profile:user:{user_id}" for user_id in expected])
    except redis.RedisError:
        entries = [None] * len(expected)
    cached = {user_id: _names_in(entry) for user_id, entry in zip(expected, entries, strict=True)}
    findings.add(
        _WRONG_ENTRIES,
        [
            f"{user_id}: {cached[user_id]} instead of {names}"
            for user_id, names in expected.items()
            if cached[user_id] != names
        ],
    )


def _names_in(entry: bytes | str | None) -> tuple[str, ...] | None:
    if entry is None:
        return None
    profile = json.loads(entry)
    return tuple(profile[name] for name in ("max_first_name", "max_last_name", "user_provided_name"))


def _check_employees(database: psycopg.Connection, loads: Loads, findings: Findings) -> None:
    load = loads.employees
    query = (
        "SELECT phone, max_id, profile_source, first_name, last_name, middle_name FROM employees WHERE phone = ANY(%s)"
    )
    rows = database.execute(query, [load.phones]).fetchall()
    counts = Counter(row[0] for row in rows)
    findings.add("employees acknowledged and missing", list(load.acknowledged - counts.keys()))
    findings.add("employees with the phone of another one", [phone for phone, count in counts.items() if count > 1])
    findings.add("employees never created", [phone for phone in load.phones if phone not in load.acknowledged])
    names = ("phone", "max_id", "profile_source", "first_name", "last_name", "middle_name")
    answered = [tuple(created.row[name] for name in names) for created in load.created]
    wrong = [str(row) for row in {*rows, *answered} if not load.has_provider(*row)]
    findings.add("names that their source did not provide", wrong)
    known = [phone for phone in load.phones if load.is_known_to_direct_api(phone)]
    forgotten = [phone for (phone,) in database.execute(_NAMELESS, [known]).fetchall()]
    findings.add("employees without a name that the direct API has, and that nobody looks up again", forgotten)


def _check_erased(database: psycopg.Connection, system: System, erasures: Erasures, findings: Findings) -> None:
    """Search all columns of all tables, all of Redis and the logs for the names of erased people."""
    names = {name for _, name in erasures.done}
    left = list(erasures.wrong)
    encoded = ERASED_PREFIX.encode().hex()
    for (table,) in database.execute(_TEXT_TABLES).fetchall():
        query = sql.SQL("SELECT t::text FROM {} t WHERE t::text LIKE ANY(%s)").format(sql.Identifier(table))
        for (row,) in database.execute(query, [[f"%{ERASED_PREFIX}%", f"%{encoded}%"]]).fetchall():
            left += [f"{table}: {name}" for name in names if name in row or name.encode().hex() in row]
    try:
        client = system.cache()
        keys = [f"profile:user:{user_id}" for user_id, _ in erasures.done]
        entries = client.mget(keys) if keys else []
        left += [f"Redis: {key}" for key, entry in zip(keys, entries, strict=True) if entry is not None]
    except redis.RedisError as error:
        left.append(f"Redis: {error}")
    for log in (system.data_dir / "logs").glob("*"):
        if ERASED_PREFIX.encode() in log.read_bytes():
            left.append(f"{log.name} has a name")
    findings.add(ERASED, left)
