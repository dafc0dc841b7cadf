"""Texts that state what an increase and a decrease of a phase do."""

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy

T = gettext_lazy
# What an increase and a decrease of phases 1 to 4 do; the number of affected people is shown beside the text.
_EFFECTS: tuple[tuple[Promise, Promise], ...] = (
    (
        T("The whole system is switched on, but all names still come from the direct API."),
        T("Employees whose names come from the cache move back to the direct API."),
    ),
    (
        T("Updates create profiles, and names are compared. All names still come from the direct API."),
        T("Updates are only stored. Employees whose names come from the cache move back to the direct API."),
    ),
    (
        T(
            "The names of these employees come from the cache, or from the direct API if the cache has no fresh full"
            " name."
        ),
        T("These employees move back to the direct API."),
    ),
    (
        T(
            "The direct API is no longer the fallback for these employees: it is called only for people without a"
            " profile."
        ),
        T(
            "The direct API is the fallback for these employees again: it is called if the cached name is stale or"
            " partial."
        ),
    ),
)
_PEOPLE: tuple[tuple[Promise, Promise], ...] = (
    (T("Employees who move to the cache"), T("Employees who move back to the direct API")),
    (T("Employees who move to the cache"), T("Employees who move back to the direct API")),
    (T("Employees who move to the cache"), T("Employees who move back to the direct API")),
    (T("Employees who lose the fallback to the direct API"), T("Employees who regain the fallback to the direct API")),
)


def effect(phase: int, *, is_raise: bool) -> tuple[str, str]:
    """Return a description of what a step of the phase does, and a label for the number of affected employees."""
    up_or_down = 0 if is_raise else 1
    return str(_EFFECTS[phase - 1][up_or_down]), str(_PEOPLE[phase - 1][up_or_down])
