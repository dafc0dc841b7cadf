"""What follows from the numbers of the quality report, each with the query or command that shows who is affected."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from django.conf import settings
from django.utils.translation import gettext as _

from monitoring.stats.population import COMPLETE, EMPTY

_PROFILES = "SELECT user_id FROM profile_cache p WHERE {} ORDER BY user_id"
_EMPLOYEES = "SELECT id FROM employees WHERE profile_source = 'default' ORDER BY id"


def data_issues(counts: Mapping[str, int]) -> list[dict[str, Any]]:
    """Return what is wrong with how many; ``query``, where SQL can, lists exactly them at the moment when it is run."""
    stale = f"p.last_updated <= now() - interval '{settings.PROFILE_TTL.total_seconds():.0f} seconds'"
    partial, guessed = f"NOT ({COMPLETE}) AND NOT ({EMPTY})", "p.first_name <> '' AND NOT p.is_first_name_real"
    unnamed = _("employees whom nobody could name")
    to_backfill = _("employees without the name that the cache has for them")
    issues = [
        ("partial_profiles", _("the last name is not known"), "partial", "warning", _PROFILES.format(partial)),
        ("empty_profiles", _("no name at all"), "empty", "critical", _PROFILES.format(EMPTY)),
        ("stale_profiles", _("older than PROFILE_TTL, so not served"), "stale", "warning", _PROFILES.format(stale)),
        ("guessed_first_names", _("from a deprecated field"), "guessed", "info", _PROFILES.format(guessed)),
        ("unnamed_employees", unnamed, "unnamed", "warning", _EMPLOYEES),
        ("names_to_backfill", to_backfill, "to_backfill", "warning", ""),
    ]
    return [
        {"type": kind, "description": text, "count": counts[name], "severity": severity}
        | ({"query": query} if query else {})
        for kind, text, name, severity, query in issues
        if counts[name]
    ]


def recommended_actions(counts: Mapping[str, int], score: float) -> list[str]:
    """Return what to do, the most useful first, each with the command that does it or shows more."""
    return list(_actions(counts, score))


def _actions(counts: Mapping[str, int], score: float) -> Iterator[str]:
    limit = 100 * settings.PROFILE_QUALITY_ALERT_THRESHOLD
    if not counts["count"]:
        yield _(
            "No profiles yet: see whether phase 2 is on (manage.py rollout status) and the bot is subscribed"
            " (manage.py max_subscription check)."
        )
    elif score < limit:
        words = {"score": f"{score:g}", "limit": f"{limit:g}"}
        yield _("The quality score %(score)s is below its threshold of %(limit)s: see the data issues.") % words
    if number := counts["to_backfill"]:
        yield _("Employees to give the name that the cache has: %d (manage.py backfill start --dry-run).") % number
    if number := counts["stale"]:
        yield (
            _(
                "Stale profiles, which are not served: %d. Have these people write to the bot, or raise PROFILE_TTL as"
                " far as names of that age still agree (manage.py rollout gates)."
            )
            % number
        )
    if number := counts["empty"]:
        yield _("Profiles without a name: %d. Replay what came for them (manage.py replay_updates --help).") % number
    if number := counts["unnamed"] - counts["unnamed_to_backfill"]:
        yield (
            _(
                "Employees that a backfill cannot name: %d. Have them write to the bot, or look for MAX"
                " ids (POST /employees/batch-update-max-id)."
            )
            % number
        )
