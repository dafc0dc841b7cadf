"""Derive data issues and recommended actions from the counts in the quality report."""

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from django.conf import settings
from django.utils.translation import gettext as _

from monitoring.stats.cached import COMPLETE, EMPTY

_PROFILES = "SELECT user_id FROM profile_cache p WHERE {} ORDER BY user_id"
_EMPLOYEES = "SELECT id FROM employees WHERE profile_source = 'default'{} ORDER BY id"


def data_issues(counts: Mapping[str, int], universities: Collection[int] | None = None) -> list[dict[str, Any]]:
    """Return the data issues with at least one affected row; ``query``, if present, is SQL that lists these rows.

    ``universities`` are those whose employees were counted; None for all.
    """
    of_these = "" if universities is None else f" AND university_id = ANY ('{{{','.join(map(str, universities))}}}')"
    unnamed = _EMPLOYEES.format(of_these)
    stale = f"p.last_updated <= now() - interval '{settings.PROFILE_TTL.total_seconds():.0f} seconds'"
    partial, guessed = f"NOT ({COMPLETE}) AND NOT ({EMPTY})", "p.first_name <> '' AND NOT p.is_first_name_real"
    to_backfill = _("Employees whose name is in the cache but not yet in the directory")
    issues = [
        ("partial_profiles", _("The last name is unknown"), "partial", "warning", _PROFILES.format(partial)),
        ("empty_profiles", _("No name"), "empty", "critical", _PROFILES.format(EMPTY)),
        ("stale_profiles", _("Older than PROFILE_TTL, no longer used"), "stale", "warning", _PROFILES.format(stale)),
        ("guessed_first_names", _("First name from a deprecated field"), "guessed", "info", _PROFILES.format(guessed)),
        ("unnamed_employees", _("Employees without a name from any source"), "unnamed", "warning", unnamed),
        ("names_to_backfill", to_backfill, "to_backfill", "warning", ""),
    ]
    return [
        {"type": kind, "description": text, "count": counts[name], "severity": severity}
        | ({"query": query} if query else {})
        for kind, text, name, severity, query in issues
        if counts[name]
    ]


def recommended_actions(counts: Mapping[str, int], score: float) -> Iterator[str]:
    """Yield the recommended actions, most useful first; ``score`` is the quality score, from 0 to 100."""
    limit = 100 * settings.PROFILE_QUALITY_ALERT_THRESHOLD
    if not counts["count"]:
        yield _(
            "No profiles yet. Check that phase 2 is on (manage.py rollout status) and that the bot is subscribed"
            " (manage.py max_subscription check)."
        )
    elif score < limit:
        params = {"score": f"{score:g}", "limit": f"{limit:g}"}
        text = _(
            "The quality score %(score)s is below the threshold %(limit)s: see data_issues in GET"
            " /monitoring/profiles/quality."
        )
        yield text % params
    if n := counts["to_backfill"]:
        text = _(
            "Employees who can get a name from the cache: %d. Preview the backfill (manage.py backfill start"
            " --dry-run)."
        )
        yield text % n
    if n := counts["stale"]:
        text = _(
            "Stale profiles, no longer used: %d. Ask these people to message the bot, or raise PROFILE_TTL up to the"
            " age at which cached names still match the direct API (see manage.py rollout gates)."
        )
        yield text % n
    if n := counts["empty"]:
        yield _("Profiles without a name: %d. Replay their updates (manage.py replay_updates --help).") % n
    if n := counts["unnamed"] - counts["unnamed_to_backfill"]:
        text = _(
            "Employees whose name a backfill cannot find: %d. Ask them to message the bot, or search for their MAX "
            "IDs (POST /employees/batch-update-max-id)."
        )
        yield text % n
