"""Sentences about the rollout's decision for one person, for ``rollout explain`` and the page Find a person."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any

from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from profiles.name_rule import CACHE_FIRST
from profiles.rollout.decision import BUCKETS, Reason
from profiles.rollout.presenters import duration, percentage

T = gettext_lazy
# Indexed by the person's rollout stage, 0 to 4.
_NAMES_COME_FROM: tuple[Promise, ...] = (
    T("Names come from the direct API."),
    T("Names come from the direct API."),
    T("Names come from the direct API; names in the cache are only compared with them."),
    T("Names come from the cache first, then from the direct API."),
    T("Names come from stored profiles; the direct API is called only for people without a profile."),
)
_BY_PERCENTAGE = {Reason.SPLIT, Reason.DEFAULT}


def source(facts: Mapping[str, Any]) -> str:
    """Return a sentence about where the person's name comes from; ``facts`` is the result of ``preview.explain()``."""
    return str(_NAMES_COME_FROM[facts["stage"]])


def reasons(facts: Mapping[str, Any]) -> list[str]:
    """Return sentences that explain why the person is at this stage.

    If the reason is not the percentages but, for example, a rule, the first sentence gives it. Sentences about the
    phases follow, up to the first phase that does not include the person.
    """
    return [*(_("Reason: %(reason)s.") % {"reason": reason} for reason in _apart(facts)), *_phases(facts)]


def _apart(facts: Mapping[str, Any]) -> list[str]:
    """Return a list with the reason for the person's stage; ``[]`` if the percentages are the reason."""
    reason = Reason(facts["reason"])
    return [] if reason in _BY_PERCENTAGE else [str(reason.label)]


def _phases(facts: Mapping[str, Any]) -> Iterator[str]:
    # A phase includes the buckets below its percentage: bucket 0 from 0.01% on.
    entry = facts["bucket"] + 1
    for number, percent in enumerate(facts["phases"], start=1):
        params = {"phase": number, "percent": _share(percent), "entry": _share(entry)}
        if number >= CACHE_FIRST:
            sentence = _("Phase %(phase)d is at %(percent)s; it includes this phone from %(entry)s upwards.")
            yield sentence % params
        elif percent < entry:
            yield _("Phase %(phase)d is at %(percent)s, so no later phase includes anybody.") % params
        if percent != facts["configured"][number - 1] and (number >= CACHE_FIRST or percent < entry):
            params["percent"] = _share(facts["configured"][number - 1])
            yield _("An override applies: without it, phase %(phase)d would be at %(percent)s.") % params
        if percent < entry:
            return


def _share(hundredths: int) -> str:
    return percentage(Decimal(hundredths) * 100 / BUCKETS)


def rows(facts: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the rows of ``rollout explain``: a title and a text, such as “Stage” and “2”."""
    yield _("Stage"), str(facts["stage"])
    yield _("Source"), source(facts)
    # The title is “Reason” already, so the text must not begin with this word, as it does in reasons().
    apart = [f"{reason[0].upper()}{reason[1:]}." for reason in _apart(facts)]
    yield _("Reason"), " ".join([*apart, *_phases(facts)])
    yield _("Name"), facts["served"]
    if employee := facts["employee"]:
        source_of_name = _("source of the name: %(source)s") % {"source": employee.get_profile_source_display()}
    yield _("Directory"), f"{employee.university.name}, {source_of_name}" if employee else _("not an employee")
    yield _("MAX ID"), facts["max_id"] or "—"
    if facts["claimed_id"]:
        yield "", _("%(id)s: entered by hand, not confirmed") % {"id": facts["claimed_id"]}
    yield "Redis", facts["redis"]
    age = "" if facts["age"] is None else ", " + _("%(length)s ago") % {"length": duration(facts["age"])}
    yield "PostgreSQL", facts["record"] + age
    if facts["api"] is not None:
        yield _("Direct API"), facts["api"]
    yield _("Revision"), str(facts["revision"])
