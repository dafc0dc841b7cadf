"""Text in square brackets, which rich would read as markup, is printed as it is."""

from io import StringIO

import pytest
from django.core.management import call_command
from django.utils import timezone

from profiles.models import PhoneLink, Profile
from tests.conftest import Phases
from tests.profiles.people import add_profile

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("cache_first")]
REASON = "[inc-5] names [/wrong]"


def printed(*words: str) -> str:
    out = StringIO()
    call_command("rollout", *words, stdout=out)
    return out.getvalue()


def test_a_reason_is_printed(phases: Phases) -> None:
    phases(100, 100, 5)
    printed("pause", "--reason", REASON)
    assert REASON in printed("status")
    assert REASON in printed("history")
    printed("resume", "--reason", "[/] a")


def test_a_name_is_printed(phases: Phases) -> None:
    phases(100, 100, 100)
    add_profile("70")
    PhoneLink.objects.create(phone="+79160000078", user_id="70", observed_at=timezone.now())
    Profile.objects.filter(user_id="70").update(first_name="[/x]")
    assert "[/x]" in printed("explain", "--phone", "+79160000078")
