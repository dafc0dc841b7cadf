"""Flags follow waffle's criteria and set its cookies; phases and the comparison flag refuse them."""

from __future__ import annotations

from decimal import Decimal

import pytest
from django.contrib.auth.models import AnonymousUser, Group, User
from django.core.management import CommandError, call_command
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.test import Client
from django.urls import path
from django.utils import translation
from pytest_django.fixtures import Settings
from waffle import flag_is_active

from profiles.rollout.decision import decide
from profiles.rollout.models import Change, Flag, Rollout
from profiles.rollout.phases import BUCKETED, PHASES, SHADOW
from profiles.rollout.presenters import audit_rows
from profiles.rollout.rules import ChangeRefused
from tests.conftest import Phases

pytestmark = pytest.mark.django_db
NAME = "new_page"
MESSAGE = (
    "Do not use “{}”: whether an employee is in phase 3 depends only on the phone. Use the phase's percentage or a"
    " university rule."
)


def page(request: HttpRequest) -> HttpResponse:
    return HttpResponse("in" if flag_is_active(request, NAME) else "out")


urlpatterns = [path("page", page)]


@pytest.mark.long
@pytest.mark.urls(__name__)
def test_a_percentage_is_sticky_by_its_cookie(settings: Settings) -> None:
    flag = Flag.objects.create(name=NAME, percent=Decimal(50))
    answers = set()
    for _ in range(40):
        client = Client()
        first = client.get("/page", secure=True)
        assert first.cookies[f"dwf_{NAME}"].value == str(first.content == b"in")
        assert {client.get("/page", secure=True).content for _ in range(3)} == {first.content}
        answers.add(first.content)
    assert answers == {b"in", b"out"}
    flag.percent = Decimal("0.01")
    flag.save()
    client.cookies[f"dwf_{NAME}"] = "True"
    assert client.get("/page", secure=True).content == b"in"


@pytest.mark.urls(__name__)
def test_a_tester_chooses_by_address_header_or_cookie() -> None:
    Flag.objects.create(name=NAME, testing=True)
    client = Client()
    assert client.get("/page", secure=True).content == b"out"
    assert client.get(f"/page?dwft_{NAME}=1", secure=True).content == b"in"
    assert client.get("/page", secure=True).content == b"in"
    assert client.get("/page", secure=True, headers={"dwft-new-page": "0"}).content == b"out"


def user(**kinds: bool) -> User:
    return User(username="anna", **kinds)


@pytest.mark.parametrize(
    ("criterion", "visitor", "other"),
    [
        ({"authenticated": True}, user(), AnonymousUser()),
        ({"staff": True}, user(is_staff=True), user()),
        ({"superusers": True}, user(is_superuser=True), user(is_staff=True)),
        ({"everyone": True}, AnonymousUser(), None),
        ({"everyone": False, "authenticated": True}, None, user()),
        ({"percent": Decimal(100)}, AnonymousUser(), None),
        ({"percent": Decimal(0)}, None, AnonymousUser()),
    ],
)
def test_a_criterion_decides(criterion: dict[str, object], visitor: object, other: object) -> None:
    Flag.objects.create(name=NAME, **criterion)
    for person in (visitor, other):
        if isinstance(person, User):
            person.username = str(id(person))
            person.save()
    for someone, is_on in ((visitor, True), (other, False)):
        request = HttpRequest()
        request.user = someone  # type: ignore[assignment]
        assert someone is None or flag_is_active(request, NAME) is is_on


def test_users_groups_and_languages_decide() -> None:
    anna, ivan = User.objects.create(username="anna"), User.objects.create(username="ivan")
    group = Group.objects.create(name="readers")
    ivan.groups.add(group)
    flag = Flag(name=NAME, languages="ru, be")
    flag.save()
    for person, language, is_on in ((anna, "", False), (ivan, "", False), (anna, "ru", True), (anna, "en", False)):
        request = HttpRequest()
        request.user, request.LANGUAGE_CODE = person, language
        assert flag_is_active(request, NAME) is is_on
    flag.users.add(anna)
    group.flag_set.add(flag)
    request.LANGUAGE_CODE = "en"
    for person in (anna, ivan):
        request.user = person
        assert flag_is_active(request, NAME)


def test_changes_of_criteria_are_recorded() -> None:
    call_command("waffle_flag", NAME, "--create", "--staff", "--percent", "12.5", "--reason", "a pilot", "--by", "root")
    change = Change.objects.filter(action="flag").latest("pk")
    assert (change.by, change.reason) == ("root", "a pilot")
    assert change.after["criteria"] == {f"{NAME} superusers": False, f"{NAME} staff": True}
    flag = Flag.objects.get(name=NAME)
    assert (flag.percent, flag.staff, flag.superusers, flag.everyone) == (Decimal("12.5"), True, False, None)
    anna = User.objects.create(username="anna")
    group = Group.objects.create(name="readers")
    with translation.override("en"):
        for act, line in (
            (lambda: flag.users.add(anna), f"{NAME} users: — → anna"),
            (flag.users.clear, f"{NAME} users: anna → —"),
            (lambda: anna.flag_set.set([flag]), f"{NAME} users: — → anna"),
            (anna.flag_set.clear, f"{NAME} users: anna → —"),
            (lambda: group.flag_set.add(flag), f"{NAME} groups: — → readers"),
            (lambda: flag.groups.set([]), f"{NAME} groups: readers → —"),
        ):
            act()
            assert audit_rows.change(Change.objects.latest("pk")) == line
            assert any(
                line.partition(" → ")[2] in text
                for text in audit_rows.recorded_state(Change.objects.latest("pk").after)
            )


def test_a_dry_run_of_the_command_writes_nothing() -> None:
    call_command("waffle_flag", NAME, "--create", "--everyone", "--dry-run")
    assert not Flag.objects.filter(name=NAME).exists()


@pytest.mark.parametrize("name", BUCKETED)
def test_a_bucketed_flag_refuses_it(phases: Phases, name: str) -> None:
    phases(100, 100, 25)
    before = (Rollout.current().revision, Change.objects.count())
    for criterion in Flag.CRITERIA:
        flag = Flag.objects.get(name=name)
        setattr(flag, criterion, "ru" if criterion == "languages" else True)
        with pytest.raises(ChangeRefused, match=f"“{criterion}”: whether"):
            flag.save()
        assert (Rollout.current().revision, Change.objects.count()) == before, criterion
        assert not getattr(Flag.objects.get(name=name), criterion)


def test_a_phase_refuses_users_and_groups_from_both_sides(phases: Phases) -> None:
    flag = Flag.objects.get(name=PHASES[2])
    anna, group = User.objects.create(username="anna"), Group.objects.create(name="readers")
    for act, field in (
        (lambda: flag.users.add(anna), "users"),
        (lambda: anna.flag_set.add(flag), "users"),
        (lambda: flag.groups.set([group]), "groups"),
        (lambda: group.flag_set.set([flag]), "groups"),
    ):
        with pytest.raises(ChangeRefused) as refused, transaction.atomic():
            act()
        assert str(refused.value) == MESSAGE.format(field)
    with translation.override("ru"):
        assert str(refused.value) == (
            "Не используйте «groups»: входит ли сотрудник в фазу 3, зависит только от его телефона. "
            "Задайте процент фазы или правило для вуза."
        )


OPTIONS = ("--superusers", "--staff", "--authenticated", "--testing", "--rollout", "--group=readers", "--user=anna")


@pytest.mark.parametrize("name", [PHASES[2], SHADOW])
def test_the_command_refuses_it_for_a_bucketed_flag(phases: Phases, name: str) -> None:
    phases(100, 100, 25)
    for option in OPTIONS:
        with pytest.raises(CommandError, match=f"“{option.partition('=')[0]}”: whether"):
            call_command("waffle_flag", name, "--percent", "5", option, "--reason", "r")
        assert Flag.objects.get(name=PHASES[2]).percent == 25, option


def test_a_phase_that_had_a_criterion_can_still_be_saved(phases: Phases) -> None:
    """Rows of an earlier release may have any: it saved them without a refusal, and they decided nothing."""
    phases(100, 100, 25)
    Flag.objects.filter(name=PHASES[2]).update(staff=True, languages="ru")
    flag = Flag.objects.get(name=PHASES[2])
    flag.percent = Decimal(5)
    flag.save()
    assert Flag.objects.get(name=PHASES[2]).percent == 5
    assert decide(None).stage == 2


@pytest.mark.parametrize("is_on", [True, False])
def test_a_missing_flag_is_created_and_a_missing_phase_is_not(settings: Settings, is_on: bool) -> None:
    settings.WAFFLE_CREATE_MISSING_FLAGS, settings.WAFFLE_FLAG_DEFAULT = True, is_on
    request = HttpRequest()
    request.user = AnonymousUser()
    assert flag_is_active(request, NAME) is is_on
    assert Flag.objects.get(name=NAME).everyone is is_on
    assert Change.objects.latest("pk").after["everyone"] == {NAME: is_on}
    Flag.objects.filter(name=PHASES[3]).delete()
    assert flag_is_active(request, PHASES[3]) is False
    assert not Flag.objects.filter(name=PHASES[3]).exists()
