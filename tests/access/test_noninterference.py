"""No figure that a user of one university sees counts people of other universities, on any page and in any answer.

The figures of the whole profile cache are the exception, and ``NETWORK`` lists where they are shown.
"""

from __future__ import annotations

import json
import re
from http import HTTPStatus

import pytest
from django.contrib.auth.models import Group, User
from django.test import Client
from django.utils import timezone

from employees.models import BackfillRun, Employee, Membership, University, UnresolvedName
from monitoring.stats.models import CachedStatistic
from profiles.models import PhoneLink
from profiles.rollout.models import Change, UniversityRule
from tests.access.matrix import API
from tests.config.admin_pages import make_rows, paths
from tests.conftest import Phases, client_of
from tests.profiles.people import add_profile

pytestmark = [pytest.mark.integration, pytest.mark.django_db, pytest.mark.usefixtures("redis")]

# A number that no figure has by chance.
_FOREIGN = 37
# Of each of the two sources, and of both.
_FOREIGNERS = (_FOREIGN, 2 * _FOREIGN)
# By the contract these are about all profiles, of which no page says whose they are.
NETWORK = {
    "/admin/", "/admin/cache/", "/admin/steer/3/preview/?percent=50", "/monitoring/cache-health", "/monitoring/health",
}  # fmt: skip
# So are these fields of the reports, whose other fields are about employees.
PROFILE_FIELDS = {
    "/monitoring/profiles/coverage": {"profiles_by_source"},
    "/monitoring/profiles/quality": {"total_profiles", "quality_metrics", "source_breakdown"},
    "/monitoring/profile-stats": {"profiles_by_source", "total_profiles", "complete_profiles", "source_breakdown"},
}
_MARKUP = re.compile(r"<script.*?</script>|<style.*?</style>|<svg.*?</svg>|<[^>]+>", re.DOTALL)
# As in “Measured 27 s ago”: it grows while the test runs.
_AGE = re.compile(r"\b[0-9]+\s+(?:s|min)\b")
_INTEGER = re.compile(r"(?<![0-9.#-])[0-9]+(?![0-9.-])")


class Limited:
    """A user of one university, with all groups of staff."""

    def __init__(self) -> None:
        self.ids = make_rows(User.objects.create_superuser("root"))
        user = User.objects.create_user("limited", is_staff=True)
        user.groups.set(Group.objects.filter(name__in=("operator", "rollout_manager", "data_protection_officer")))
        Membership.objects.create(user=user, university=University.objects.get(name="Вуз"))
        self._browser, self._api = Client(headers={"accept-language": "en"}), client_of(user)
        self._browser.force_login(user)

    def answer(self, path: str) -> tuple[int, set[int]]:
        """Return the status, and the whole numbers that the page or the answer shows; none if it is refused."""
        CachedStatistic.objects.all().delete()
        answer = (self._browser if path.startswith("/admin/") else self._api).get(path)
        text = answer.content.decode() if answer.status_code == HTTPStatus.OK else ""
        if (hidden := PROFILE_FIELDS.get(path)) and text:
            text = json.dumps({name: field for name, field in answer.json().items() if name not in hidden})
        return answer.status_code, set(map(int, _INTEGER.findall(_AGE.sub(" ", _MARKUP.sub(" ", text)))))


def change_other_universities() -> None:
    university = University.objects.create(name="Другой", inn="7736050003", kpp="773601001")
    for number in range(2 * _FOREIGN):
        phone, user_id = f"+120255502{number:02}", f"90{number:02}"
        # A backfill would name those of the source default.
        source = "webhook" if number % 2 else "default"
        employee = Employee.objects.create(
            phone=phone, max_id=user_id, university=university, last_name="Секретова", profile_source=source
        )
        add_profile(user_id, "Имя", "Секретова")
        PhoneLink.objects.create(phone=phone, user_id=user_id, observed_at=timezone.now())
        UnresolvedName.objects.create(employee=employee, next_try_at=timezone.now())
    BackfillRun.objects.create(university=university, status="done", until_id=0)
    UniversityRule.objects.create(university_id=university.pk, phase=4, reason="причина")
    after = {"university": university.pk, "phase": 4, "allowed": True, "expires_at": None}
    Change.objects.create(by="t", action="scope", reason="причина", revision=0, after=after)


def test_other_universities_change_no_figure(phases: Phases) -> None:
    phases(100, 100, 25)
    limited = Limited()
    addresses = [
        *(path for path in paths(limited.ids, most=2) if not re.search(r"/(add|delete|history)/$", path)),
        *(f"/{row.path}" for row in API if row.verb == "get" and "{" not in row.path),
    ]
    before = {path: limited.answer(path) for path in addresses}
    assert sum(bool(numbers) for _status, numbers in before.values()) > 50
    change_other_universities()
    after = {path: limited.answer(path) for path in addresses}
    # A page that is refused only now, by a fault, shows no number either.
    assert {path: status for path, (status, _numbers) in after.items()} == {
        path: status for path, (status, _numbers) in before.items()
    }
    counting = {}
    for path, (_status, shown) in before.items():
        new = after[path][1] - shown
        if more := sorted(number for number in new if {number - n for n in _FOREIGNERS} & {0, *shown}):
            counting[path] = more
    assert set(counting) == NETWORK, counting
