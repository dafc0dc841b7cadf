"""waffle's own API agrees with the decision, and nothing that a client sends decides."""

from decimal import Decimal

import pytest
from django.contrib.auth.models import AnonymousUser, User
from django.core.exceptions import ValidationError
from django.http import Http404, HttpRequest, HttpResponse
from django.template import Context, Template
from django.test import RequestFactory
from pytest_django.fixtures import Settings
from rest_framework.test import APIClient
from waffle import flag_is_active
from waffle.decorators import waffle_flag
from waffle.testutils import override_flag, override_switch

from employees.models import University
from profiles.rollout.decision import decide, forget_state
from profiles.rollout.models import Flag
from profiles.rollout.phases import PHASES, SHADOW
from tests.conftest import Phases
from tests.profiles.people import add_profile

PHASE3 = PHASES[2]
PHONES = [f"+7916{number:07d}" for number in range(500)]

pytestmark = pytest.mark.django_db


def request_of(user: User | AnonymousUser | None = None, phone: str | None = None, **extra: str) -> HttpRequest:
    request = RequestFactory().get(f"/?dwft_{PHASE3}=1&{PHASE3}=1", headers=extra)
    request.COOKIES |= {f"dwf_{PHASE3}": "True", f"dwft_{PHASE3}": "True"}
    request.user = user or AnonymousUser()
    request.rollout_phone = phone  # type: ignore[attr-defined]
    return request


def test_it_agrees_with_the_decision(phases: Phases) -> None:
    phases(100, 100, 25)
    answers = [flag_is_active(request_of(phone=phone), PHASE3) for phone in PHONES]
    assert answers == [decide(phone).stage >= 3 for phone in PHONES]
    assert 0 < sum(map(bool, answers)) < len(PHONES)


@pytest.mark.parametrize(("percent", "is_on"), [(0, False), (99.99, False), (100, True)])
def test_without_a_key_it_is_on_at_100_and_off_below(phases: Phases, percent: float, is_on: bool) -> None:
    phases(100, 100, percent)
    assert [flag_is_active(request_of(), PHASE3) for _ in range(40)] == [is_on] * 40


def test_what_a_client_sends_changes_nothing(phases: Phases, superadmin: User, settings: Settings) -> None:
    settings.WAFFLE_OVERRIDE = True
    phases(100, 100, 25)
    Flag.objects.filter(name=PHASE3).update(
        testing=True, superusers=True, staff=True, authenticated=True, languages="ru,en", rollout=True
    )
    Flag.users.through.objects.create(flag=Flag.objects.get(name=PHASE3), user=superadmin)
    forget_state()
    for phone in PHONES[:50]:
        expected = decide(phone).stage >= 3
        forged = request_of(superadmin, phone, **{f"dwft-{PHASE3.replace('_', '-')}": "1"})
        assert flag_is_active(forged, PHASE3) == expected
        assert not hasattr(forged, "waffles")
    assert not flag_is_active(request_of(superadmin), PHASE3)


@pytest.mark.usefixtures("redis")
def test_a_create_is_not_moved_by_what_a_client_sends(phases: Phases, api: APIClient, university: University) -> None:
    phases(100, 100, 25)
    add_profile("7")
    outsider = next(phone for phone in PHONES if decide(phone).stage == 2)
    api.cookies.load({f"dwf_{PHASE3}": "True", f"dwft_{PHASE3}": "True"})
    body = {"phone": outsider, "max_id": "7", "university_id": university.pk}
    forged = {f"dwft-{PHASE3.replace('_', '-')}": "1", "X-Service": "employee"}
    answer = api.post(f"/employees?dwft_{PHASE3}=1&{PHASE3}=1", body, format="json", headers=forged)
    assert (answer.status_code, answer.json()["profile_source"]) == (201, "default")
    insider = next(phone for phone in PHONES if decide(phone).stage == 3)
    api.cookies.load({f"dwf_{PHASE3}": "False", f"dwft_{PHASE3}": "False"})
    answer = api.post(f"/employees?dwft_{PHASE3}=0", body | {"phone": insider}, format="json")
    assert (answer.status_code, answer.json()["profile_source"]) == (201, "webhook")


def test_the_decorator_and_the_tag(phases: Phases) -> None:
    @waffle_flag(PHASE3)
    def view(request: HttpRequest) -> HttpResponse:
        return HttpResponse("in")

    template = Template(f'{{% load waffle_tags %}}{{% flag "{PHASE3}" %}}in{{% else %}}out{{% endflag %}}')
    assert template.render(Context({"request": request_of()})) == "out"
    with pytest.raises(Http404):
        view(request_of())
    phases(100, 100, 100)
    assert template.render(Context({"request": request_of()})) == "in"
    assert view(request_of()).content == b"in"


def test_override_flag_reaches_the_decision(phases: Phases) -> None:
    with override_flag(PHASE3, active=True):
        assert flag_is_active(request_of(), PHASE3)
        assert decide(PHONES[0]).stage == 3
    assert decide(PHONES[0]).stage == 0
    phases(100, 100, 100)
    with override_flag(PHASES[1], active=False):
        assert decide(PHONES[0]).stage == 1
    assert decide(PHONES[0]).stage == 3


def test_a_latch_and_a_switch_hold_for_waffle_too(phases: Phases) -> None:
    phases(100, 100, 100)
    with override_switch("profile_cache", active=False):
        forget_state()
        assert not flag_is_active(request_of(), PHASE3)


@pytest.mark.parametrize("name", ["new_page", SHADOW])
def test_a_percentage_is_from_0_to_100(phases: Phases, name: str) -> None:
    flag, _ = Flag.objects.get_or_create(name=name)
    for percent in ("101", "-1", "12.345", "NaN"):
        flag.percent = Decimal(percent)
        with pytest.raises(ValidationError):
            flag.save()


def test_an_unknown_flag_is_off(phases: Phases) -> None:
    assert not flag_is_active(request_of(phone=PHONES[0]), "nobody_knows_it")
