"""Single sign-on: who logs in by the provider's signed answer, and which groups its claim gives and takes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
from allauth.socialaccount.models import SocialAccount, SocialToken
from cryptography.hazmat.primitives.asymmetric import rsa
from django.contrib.auth.models import Group, User
from django.contrib.sessions.models import Session
from django.test import Client
from pytest_django.fixtures import Settings

from config.lib.http.throttling import LogInRate, TokenBuckets
from employees.credentials.models import LogIn
from tests.config.test_access_log import lines
from tests.employees.credentials.factors import CODE, SET_UP, code, enrol
from tests.employees.credentials.fake_provider import ID, FakeProvider, fake_provider

pytestmark = pytest.mark.django_db
EMAIL: dict[str, Any] = {"email": "Anna@Example.ru", "email_verified": True}
NEW: dict[str, Any] = EMAIL | {"preferred_username": "anna", "given_name": "Анна", "family_name": "Иванова"}


@pytest.fixture(autouse=True)
def _full_buckets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LogInRate, "buckets", TokenBuckets())


@pytest.fixture
def provider(settings: Settings) -> Iterator[FakeProvider]:
    with fake_provider(settings) as provider:
        yield provider


@pytest.fixture
def user() -> User:
    user = User.objects.create_user("anna", email="anna@example.ru", password="right", is_staff=True)
    user.groups.add(Group.objects.get(name="viewer"))
    return user


def is_open(client: Client) -> bool:
    return client.get("/admin/").status_code == 200


def outcomes(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [line["outcome"] for line in lines(caplog) if line["event"] == "log_in"]


def test_it_works(provider: FakeProvider, user: User, client: Client, caplog: pytest.LogCaptureFixture) -> None:
    assert "Single sign-on" in client.get("/admin/login/").content.decode()
    assert provider.log_in(client, "/admin/rollout/", **EMAIL)["Location"] == "/admin/rollout/"
    assert is_open(client)
    assert outcomes(caplog) == ["success"]
    assert LogIn.objects.get(user=user).session_key == client.session.session_key
    # The next time the subject is enough, whatever the address is by then.
    assert provider.log_in(Client(), email="other@example.ru")["Location"] == "/admin/"
    assert User.objects.count() == 1


def test_nothing_of_the_claims_is_stored(provider: FakeProvider, user: User, client: Client) -> None:
    provider.log_in(client, **NEW, phone_number="+79160000001")
    account = SocialAccount.objects.get()
    stored = str(list(SocialAccount.objects.values())) + str([row.get_decoded() for row in Session.objects.all()])
    assert not SocialToken.objects.exists()
    assert not [text for text in ("u-1", "Example", "Иванова", "+7916", "opaque") if text in stored]
    assert len(account.uid) == 64


def test_without_a_provider_there_is_none(client: Client) -> None:
    assert "sso" not in client.get("/admin/login/").content.decode()
    assert client.post("/admin/login/sso/").status_code == 404
    assert client.get("/admin/login/sso/callback/?code=1&state=2").status_code == 404


def test_it_starts_only_from_the_form(provider: FakeProvider) -> None:
    client = Client(enforce_csrf_checks=True)
    assert client.get("/admin/login/sso/").status_code == 405
    assert client.post("/admin/login/sso/").status_code == 403


@pytest.mark.parametrize(
    "claims",
    [{"email": "anna@example.ru"}, {"email": "anna@example.ru", "email_verified": False},
     {"email": "anna@example.ru", "email_verified": "true"}, {"email": "anna@example.ru", "email_verified": 1},
     {"preferred_username": "anna"}, {"email_verified": True}, {"email": "", "email_verified": True}, {}],
)  # fmt: skip
def test_it_connects_by_a_verified_address_only(
    provider: FakeProvider, user: User, client: Client, claims: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    answer = provider.log_in(client, **claims)
    assert (answer.status_code, outcomes(caplog)) == (403, ["no_account"])
    assert "You have no account here" in answer.content.decode()
    assert not SocialAccount.objects.exists()
    assert not is_open(client)


@pytest.mark.parametrize(
    "email",
    [7, 7.5, True, None, ["anna@example.ru"], {"a": "b"}, "anna@example.ru\0", "\0", "\ud800@example.ru", "\x7f"],
)
def test_an_address_is_text_that_can_be_stored(
    provider: FakeProvider, user: User, client: Client, email: Any, caplog: pytest.LogCaptureFixture, settings: Settings
) -> None:
    answer = provider.log_in(client, email=email, email_verified=True)
    assert (answer.status_code, outcomes(caplog)) == (403, ["no_account"])
    settings.OIDC_CREATE_USERS, settings.OIDC_GROUPS_CLAIM = True, "groups"
    claims: dict[str, Any] = {"preferred_username": "olga", "groups": ["viewer", "\0", {"a": "b"}]}
    assert provider.log_in(client, email=email, email_verified=True, **claims)["Location"] == "/admin/"
    assert User.objects.get(username="olga").email == ""


def test_it_connects_no_superuser(provider: FakeProvider, user: User, client: Client) -> None:
    User.objects.update(is_superuser=True)
    assert provider.log_in(client, **EMAIL).status_code == 403
    assert not SocialAccount.objects.exists()


def test_an_address_of_two_accounts_is_refused(provider: FakeProvider, user: User, client: Client) -> None:
    User.objects.create_user("ivan", email="ANNA@example.ru", is_staff=True)
    assert "Several accounts" in provider.log_in(client, **EMAIL).content.decode()


LOOK_ALIKES = [
    chr(code) for code in range(0x80, 0x110000) if {chr(code).upper(), chr(code).casefold()} & {*"aeilmnprsuxkIKS"}
]


@pytest.mark.parametrize("letter", LOOK_ALIKES)
def test_an_address_that_looks_the_same_connects_nothing(
    provider: FakeProvider, user: User, client: Client, letter: str, caplog: pytest.LogCaptureFixture
) -> None:
    """PostgreSQL's upper case of both addresses is the same, or their case-folded form is."""
    User.objects.update(email="mike.smith@example.ru")
    plain = next(each for each in "aeilmnprsuxk" if each.upper() == letter.upper() or each == letter.casefold())
    look_alike = "mike.smith@example.ru".replace(plain, letter, 1)
    assert look_alike != "mike.smith@example.ru"
    provider.log_in(client, email=look_alike, email_verified=True)
    assert (outcomes(caplog), SocialAccount.objects.count()) == (["no_account"], 0)


def test_an_address_in_cyrillic_is_compared_without_case(provider: FakeProvider, user: User, client: Client) -> None:
    User.objects.update(email="анна@пример.рф")
    assert provider.log_in(client, email="Анна@Пример.рф", email_verified=True)["Location"] == "/admin/"


def test_an_address_does_not_take_over_another_identity(provider: FakeProvider, user: User) -> None:
    provider.log_in(Client(), **EMAIL)
    client = Client()
    assert provider.log_in(client, **EMAIL, sub="u-2").status_code == 403
    assert not is_open(client)


@pytest.mark.parametrize("field", ["is_active", "is_staff"])
@pytest.mark.parametrize("is_connected", [False, True])
def test_it_bypasses_no_deactivation(
    provider: FakeProvider, user: User, client: Client, field: str, is_connected: bool, caplog: pytest.LogCaptureFixture
) -> None:
    if is_connected:
        provider.log_in(Client(), **EMAIL)
    lines(caplog)
    User.objects.update(**{field: False})
    assert provider.log_in(client, **EMAIL).status_code == 403
    assert outcomes(caplog) == ["deactivated" if field == "is_active" else "not_staff"]
    assert not is_open(client)


OTHER_KEY = rsa.generate_private_key(65537, 2048)
FORGED: dict[str, dict[str, Any]] = {
    "another key": {"signing_key": OTHER_KEY},
    "an unknown key": {"signing_key": OTHER_KEY, "key_id": "2"},
    "the secret as a key": {"signing_key": "s" * 64, "algorithm": "HS256"},
    "no signature": {"signing_key": None, "algorithm": "none"},
    "the configuration of another": {"configured_issuer": "https://evil.example"},
}
WRONG: dict[str, dict[str, Any]] = {
    "another issuer": {"iss": "https://evil.example"},
    "another audience": {"aud": "another"},
    "another party": {"aud": [ID, "another"], "azp": "another"},
    "expired": {"exp": int(time.time()) - 120, "iat": int(time.time()) - 300},
    "no expiry": {"exp": None},
    "no subject": {"sub": None},
    "a subject that is no text": {"sub": 1},
}


@pytest.mark.parametrize("forged", FORGED.values(), ids=FORGED.keys())
def test_it_trusts_only_the_providers_signature(
    provider: FakeProvider, user: User, client: Client, forged: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    is_early = "configured_issuer" in forged
    vars(provider).update(forged)
    answer = client.post("/admin/login/sso/") if is_early else provider.log_in(client, **EMAIL)
    assert (answer.status_code, outcomes(caplog)) == (403, ["provider_refused"])
    assert not is_open(client)


@pytest.mark.parametrize("claims", WRONG.values(), ids=WRONG.keys())
def test_it_checks_the_claims(
    provider: FakeProvider, user: User, client: Client, claims: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    assert provider.log_in(client, **EMAIL, **claims).status_code == 403
    assert outcomes(caplog) == ["provider_refused"]
    assert not is_open(client)


def test_the_same_subject_of_another_issuer_is_another_person(
    provider: FakeProvider, user: User, settings: Settings
) -> None:
    provider.log_in(Client(), **EMAIL)
    with fake_provider(settings) as other:
        assert other.log_in(Client(), email="else@example.ru", email_verified=True).status_code == 403


def test_an_answer_that_nobody_asked_for_is_refused(provider: FakeProvider, user: User, client: Client) -> None:
    """Another browser's answer would log this one in as somebody else."""
    provider.claims = dict(EMAIL)
    started = Client().post("/admin/login/sso/")
    back = provider.authorize(started["Location"])
    assert client.get(back).status_code == 403
    assert not is_open(client)
    for query in ("", "?error=access_denied", "?code=1", "?state=1", "?code=1&state=1"):
        assert client.get(f"/admin/login/sso/callback/{query}").status_code == 403


def test_an_answer_is_used_once(provider: FakeProvider, user: User, client: Client) -> None:
    provider.claims = dict(EMAIL)
    back = provider.authorize(client.post("/admin/login/sso/")["Location"])
    assert client.get(back).status_code == 302
    client.post("/admin/logout/")
    assert client.get(back).status_code == 403


@pytest.mark.parametrize("when", ["before", "after"])
def test_an_outage_of_the_provider_is_a_sentence(
    provider: FakeProvider, user: User, client: Client, when: str, caplog: pytest.LogCaptureFixture
) -> None:
    back = provider.authorize(client.post("/admin/login/sso/")["Location"])
    provider.status = 500
    answer = client.post("/admin/login/sso/") if when == "before" else client.get(back)
    assert (answer.status_code, outcomes(caplog)) == (503, ["provider_unavailable"])
    assert "The identity provider is unavailable" in answer.content.decode()


@pytest.mark.parametrize("next_url", ["https://evil.example/", "//evil.example"])
def test_it_leads_to_no_other_host(provider: FakeProvider, user: User, client: Client, next_url: str) -> None:
    assert provider.log_in(client, next_url, **EMAIL)["Location"] == "/admin/"


@pytest.mark.long
def test_the_second_factor_comes_after_it(
    provider: FakeProvider, user: User, client: Client, settings: Settings
) -> None:
    settings.ADMIN_MFA_REQUIRED = True
    assert provider.log_in(client, **EMAIL)["Location"] == "/admin/"
    assert client.get("/admin/")["Location"].startswith(SET_UP)
    assert client.get(SET_UP).status_code == 200
    enrol(user)
    other = Client()
    assert provider.log_in(other, "/admin/rollout/", **EMAIL)["Location"] == CODE
    assert not is_open(other)
    assert not [row for row in Session.objects.all() if "opaque" in str(row.get_decoded())]
    answers = [other.post(CODE, {"code": f"{number:06}"}).status_code for number in range(5)]
    assert answers == [200] * 4 + [429], "the lockout applies"
    third = Client(REMOTE_ADDR="10.0.0.9")
    provider.log_in(third, "/admin/rollout/", **EMAIL)
    assert third.post(CODE, {"code": code()})["Location"] == "/admin/rollout/"
    assert is_open(third)


@pytest.fixture
def groups(settings: Settings) -> None:
    settings.OIDC_GROUPS_CLAIM = "groups"


def names(user: User) -> list[str]:
    return sorted(user.groups.values_list("name", flat=True))


@pytest.mark.long
@pytest.mark.usefixtures("groups")
def test_groups_follow_the_claim(provider: FakeProvider, user: User, caplog: pytest.LogCaptureFixture) -> None:
    first, second = Client(), Client()
    provider.log_in(first, **EMAIL, groups=["/operator", "rollout_manager", "unknown"])
    assert names(user) == ["operator", "rollout_manager"]
    token = LogIn.objects.start(user)
    (changed,) = [line for line in lines(caplog) if line["event"] == "groups_changed"]
    assert (changed["added"], changed["removed"]) == ("operator, rollout_manager", "viewer")
    provider.log_in(second, **EMAIL, groups=["operator"])
    assert names(user) == ["operator"]
    assert (is_open(first), is_open(second)) == (False, True)
    assert not LogIn.objects.usable().filter(pk=token.pk).exists(), "a demotion ends tokens"
    provider.log_in(Client(), **EMAIL, groups=["operator"])
    assert is_open(second), "nothing was taken away"


@pytest.mark.usefixtures("groups")
@pytest.mark.parametrize("claim", [None, [], "", {}, 7, [[]], ["unknown"], ["Operator"]])
def test_a_claim_without_groups_takes_all(provider: FakeProvider, user: User, claim: object) -> None:
    provider.log_in(Client(), **EMAIL, groups=claim)
    assert names(user) == []


@pytest.mark.usefixtures("groups")
def test_a_claim_grants_no_superuser(provider: FakeProvider, user: User) -> None:
    Group.objects.get_or_create(name="superadmin")
    provider.log_in(Client(), **EMAIL, groups=["superadmin", "operator"], is_superuser=True)
    user.refresh_from_db()
    assert (names(user), user.is_superuser) == (["operator"], False)
    user.groups.add(Group.objects.get(name="superadmin"))
    provider.log_in(Client(), **EMAIL, groups=["operator"])
    assert names(user) == ["operator", "superadmin"], "what is given here is taken here"


def test_without_the_setting_groups_stay(provider: FakeProvider, user: User) -> None:
    provider.log_in(Client(), **EMAIL, groups=["operator"])
    assert names(user) == ["viewer"]


@pytest.mark.usefixtures("groups")
def test_it_creates_an_account_with_a_group(
    provider: FakeProvider, client: Client, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    settings.OIDC_CREATE_USERS = True
    assert provider.log_in(client, **NEW, groups=["viewer"])["Location"] == "/admin/"
    user = User.objects.get()
    assert (user.username, user.email, user.get_full_name()) == ("anna", "Anna@example.ru", "Анна Иванова")
    assert (user.is_staff, user.is_superuser, user.has_usable_password(), names(user)) == (
        True,
        False,
        False,
        ["viewer"],
    )
    assert "account_created" in [line["event"] for line in lines(caplog)]
    assert is_open(client)


@pytest.mark.usefixtures("groups")
@pytest.mark.parametrize(
    ("is_on", "claims"),
    [(False, {"groups": ["viewer"]}), (True, {"groups": []}), (True, {}), (True, {"groups": ["unknown"]})],
)
def test_it_creates_no_other_account(
    provider: FakeProvider, client: Client, settings: Settings, is_on: bool, claims: dict[str, Any]
) -> None:
    settings.OIDC_CREATE_USERS = is_on
    assert provider.log_in(client, **NEW, **claims).status_code == 403
    assert not User.objects.exists()


@pytest.mark.usefixtures("groups")
@pytest.mark.parametrize("name", ["anna", "", "x" * 151, "a b"])
def test_it_creates_no_account_with_such_a_name(
    provider: FakeProvider, client: Client, settings: Settings, name: str
) -> None:
    settings.OIDC_CREATE_USERS = True
    User.objects.create_user("anna", email="another@example.ru")
    assert provider.log_in(client, preferred_username=name, groups=["viewer"]).status_code == 403
    assert User.objects.count() == 1


def test_it_needs_no_redis(provider: FakeProvider, user: User, client: Client, redis_server: Any) -> None:
    redis_server.kill()
    assert provider.log_in(client, **EMAIL, jti="1")["Location"] == "/admin/"
    assert provider.log_in(Client(), **EMAIL, jti="1")["Location"] == "/admin/"
