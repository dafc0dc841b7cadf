"""The second factor: set up at the first log-in, asked for at each later one, in the admin."""

from __future__ import annotations

import re
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import time_machine
from allauth.account import urls as account
from allauth.mfa import urls as mfa
from allauth.mfa.models import Authenticator
from allauth.socialaccount import urls as social
from allauth.socialaccount.providers.openid_connect import urls as openid
from django.contrib.auth.models import Group, Permission, User
from django.contrib.sessions.models import Session
from django.db import connection
from django.test import Client, RequestFactory
from django.urls import NoReverseMatch, reverse
from pytest_django import DjangoCaptureOnCommitCallbacks
from pytest_django.fixtures import Settings

from config.lib.http.throttling import LogInRate, TokenBuckets
from employees.credentials import second_factor, urls
from employees.credentials.models import LogIn
from employees.models import Membership, University
from tests.access.matrix import PAGES
from tests.config.test_access_log import lines
from tests.employees.credentials.factors import AGAIN, CODE, PASSWORD, SECRET, SET_UP, code, enrol, factors, key_on
from tests.employees.credentials.factors import password as give_password

pytestmark = pytest.mark.django_db
OPEN = {"admin/login/", "admin/login/code/", "admin/login/sso/", "admin/login/sso/callback/", "admin/language/",
        "admin/second-factor/set-up/", "admin/second-factor/password/", "admin/second-factor/code/",
        "admin/logout/", "admin/jsi18n/"}  # fmt: skip


@pytest.fixture(autouse=True)
def _required(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.ADMIN_MFA_REQUIRED = True
    monkeypatch.setattr(LogInRate, "buckets", TokenBuckets())


@pytest.fixture
def user() -> User:
    return User.objects.create_superuser("anna", password=PASSWORD)


def is_open(client: Client) -> bool:
    return client.get("/admin/").status_code == 200


def test_it_works(user: User, client: Client) -> None:
    """The first log-in leads to the enrolment, and the next one asks for a code."""
    assert give_password(client, path="/admin/login/?next=/admin/rollout/") == "/admin/rollout/"
    assert client.get("/admin/rollout/")["Location"] == f"{SET_UP}?next=%2Fadmin%2Frollout%2F"
    page = client.get(SET_UP).content.decode()
    secret = key_on(page)
    assert "data:image/svg+xml;base64," in page
    assert client.post(SET_UP, {"code": "000000"}).status_code == 200
    assert factors(user) == []
    used = code(secret)
    assert client.post(SET_UP, {"code": used})["Location"] == reverse("mfa_view_recovery_codes")
    codes = re.findall(r"<li>(\d{8})</li>", client.get(reverse("mfa_view_recovery_codes")).content.decode())
    assert len(set(codes)) == 10
    assert not set(codes) & set(re.findall(r"\d{8}", client.get(reverse("mfa_view_recovery_codes")).content.decode()))
    assert is_open(client)

    other = Client()
    assert give_password(other, path="/admin/login/?next=/admin/rollout/") == CODE
    assert not is_open(other)
    assert other.post(CODE, {"code": used}).status_code == 200, "the code of the enrolment was used"
    with time_machine.travel(time.time() + 30):
        assert other.post(CODE, {"code": code(secret)})["Location"] == "/admin/rollout/"
        assert is_open(other)
        third = Client()
        give_password(third)
        assert third.post(CODE, {"code": f"{codes[0][:4]} {codes[0][4:]}"}).status_code == 302
        assert is_open(third)


@pytest.mark.parametrize(
    "next_url", ["https://evil.example/", "//evil.example", "javascript:alert(1)", "/\\evil.example"]
)
@pytest.mark.parametrize("has_factor", [False, True])
def test_it_leads_to_no_other_host(
    user: User, client: Client, settings: Settings, next_url: str, has_factor: bool
) -> None:
    settings.ALLOWED_HOSTS = ["testserver", "evil.example"]
    if has_factor:
        enrol(user)
    where = give_password(client, path=f"/admin/login/?next={next_url}")
    if has_factor:
        where = client.post(f"{where}?next={next_url}", {"code": code()})["Location"]
    assert where == "/admin/"


def test_no_page_can_be_reached_before(user: User, client: Client) -> None:
    give_password(client)
    for row in PAGES:
        path = row.path.partition("?")[0]
        if "{" in path or path in OPEN:
            continue
        answer = getattr(client, row.verb)(f"/{row.path}")
        assert (row.path, answer.status_code, answer["Location"].partition("?")[0]) == (row.path, 302, SET_UP)


def test_a_session_is_nobodys_outside_the_admin(user: User, client: Client) -> None:
    give_password(client)
    assert client.get("/monitoring/rollout").status_code in (401, 403)
    enrol(user)
    assert client.post(AGAIN, {"code": code()}).status_code == 302
    assert client.get("/monitoring/rollout").status_code == 200


def test_a_session_from_before_the_upgrade_sets_one_up(user: User, client: Client) -> None:
    """It may be somebody else's by now, so that it gives the password once more."""
    client.force_login(user)
    assert client.get("/admin/")["Location"] == f"{SET_UP}?next=%2Fadmin%2F"
    again = f"/admin/second-factor/password/?next={SET_UP.replace('/', '%2F')}"
    assert client.get(SET_UP)["Location"] == again
    assert client.post(again, {"password": "wrong"}).status_code == 200
    assert client.get(SET_UP).status_code == 302
    assert client.post(again, {"password": PASSWORD})["Location"] == SET_UP
    assert client.get(SET_UP).status_code == 200


def test_an_account_without_a_password_logs_in_once_more(user: User, client: Client) -> None:
    """The identity provider's accounts have none."""
    user.set_unusable_password()
    user.save()
    client.force_login(user)
    assert client.get(SET_UP)["Location"].startswith("/admin/login/?next=")
    assert client.get("/admin/login/").status_code == 200


def test_a_session_of_the_earlier_release_gives_a_code(user: User, client: Client) -> None:
    """While both releases run, the earlier one asks for no code."""
    enrol(user)
    client.force_login(user)
    assert client.get("/admin/")["Location"] == f"{AGAIN}?next=%2Fadmin%2F"
    assert client.get("/admin/second-factor/password/")["Location"] == AGAIN
    assert client.post(f"{AGAIN}?next=/admin/", {"code": "000000"}).status_code == 200
    assert client.post(f"{AGAIN}?next=/admin/", {"code": code()})["Location"] == "/admin/"
    assert is_open(client)


NEEDS = ["viewer", "operator", "rollout_manager", "data_protection_officer", "superadmin", "curator"]


@pytest.mark.parametrize("group", NEEDS)
def test_each_group_of_people_needs_one(group: str, university: University) -> None:
    user = User.objects.create_user("ivan")
    assert not second_factor.is_needed(user)
    user.groups.add(Group.objects.get_or_create(name=group)[0])
    Membership.objects.create(user=user, university=university)
    assert second_factor.is_needed(User.objects.get(pk=user.pk))


@pytest.mark.parametrize(
    ("codename", "is_needed"),
    [("view_rollout", False), ("view_alert", False), ("view_screens", False), ("operate_rollout", True),
     ("stop_rollout", True), ("look_up_person", True), ("view_audit", True), ("view_employee", True),
     ("view_inboxupdate", True), ("change_user", True), ("add_apikey", True), ("change_switch", True)],
)  # fmt: skip
def test_it_is_needed_for_people_and_the_rollout(codename: str, is_needed: bool) -> None:
    user = User.objects.create_user("ivan")
    user.user_permissions.add(*Permission.objects.filter(codename=codename))
    assert second_factor.is_needed(User.objects.get(pk=user.pk)) is is_needed


def test_an_account_that_sees_figures_needs_none(client: Client) -> None:
    user = User.objects.create_user("ivan", password=PASSWORD, is_staff=True)
    user.user_permissions.add(Permission.objects.get(codename="view_screens"))
    assert give_password(client, "ivan") == "/admin/"
    assert is_open(client)


def test_development_needs_none(user: User, client: Client, settings: Settings) -> None:
    settings.ADMIN_MFA_REQUIRED = False
    give_password(client)
    assert is_open(client)
    enrol(user)
    assert give_password(Client()) == CODE, "who has set one up uses it"


def test_an_account_for_the_api_sets_one_up_too(client: Client) -> None:
    user = User.objects.create_user("anna", password=PASSWORD)
    user.groups.add(Group.objects.get_or_create(name="curator")[0])
    assert give_password(client) == "/admin/"
    assert client.get("/admin/")["Location"].startswith(SET_UP)
    secret = key_on(client.get(SET_UP).content.decode())
    assert client.post(SET_UP, {"code": code(secret)}).status_code == 302
    assert client.get("/admin/", follow=True).redirect_chain[-1][0] == "/admin/second-factor/"


def test_others_without_staff_status_are_refused(client: Client, caplog: pytest.LogCaptureFixture) -> None:
    User.objects.create_user("ivan", password=PASSWORD)
    answer = client.post("/admin/login/", {"username": "ivan", "password": PASSWORD})
    assert "correct username and password for a staff account" in answer.content.decode()
    assert [entry["outcome"] for entry in lines(caplog)] == ["not_staff"]


def test_a_password_that_changes_meanwhile_ends_the_log_in(user: User, client: Client) -> None:
    enrol(user)
    give_password(client)
    user.set_password("another-pass-word")
    user.save()
    assert client.post(CODE, {"code": code()})["Location"] == "/admin/login/"
    assert not is_open(client)


def test_a_deactivated_account_gets_no_further_than_the_password(user: User, client: Client) -> None:
    enrol(user)
    give_password(client)
    User.objects.update(is_active=False)
    assert client.post(CODE, {"code": code()})["Location"] == "/admin/login/"


def test_a_code_without_a_password_is_nothing(user: User, client: Client) -> None:
    enrol(user)
    assert client.post(CODE, {"code": code()})["Location"] == "/admin/login/"
    assert not LogIn.objects.exists()


@pytest.mark.parametrize("steps", [-2, 2])
def test_codes_of_other_minutes_are_refused(user: User, client: Client, steps: int) -> None:
    enrol(user)
    give_password(client)
    with time_machine.travel(1_800_000_000, tick=False):
        assert second_factor.step_of(SECRET, code(steps=steps)) is None
        assert second_factor.step_of(SECRET, code(steps=steps // 2)) is not None


def test_an_earlier_code_than_the_last_is_refused(user: User) -> None:
    """The one of half a minute ago was still right, but somebody may have seen it."""
    enrol(user)
    with time_machine.travel(1_800_000_000, tick=False):
        request = RequestFactory().post("/")
        assert second_factor.use_code(request, user, code(steps=0))
        assert second_factor.use_code(request, user, code(steps=-1)) is None
        assert second_factor.use_code(request, user, code(steps=1))


@pytest.mark.django_db(transaction=True)
def test_of_many_uses_of_a_code_one_succeeds() -> None:
    user = User.objects.create_superuser("anna", password=PASSWORD)
    codes = enrol(user)

    def use(text: str, number: int) -> bool:
        try:
            request = RequestFactory().post("/", REMOTE_ADDR=f"10.0.0.{number}")
            return second_factor.use_code(request, user, text) is not None
        finally:
            connection.close()

    with ThreadPoolExecutor(4) as pool:
        now = code()
        assert sorted(pool.map(use, [now] * 4, range(4))) == [False, False, False, True]
        assert sorted(pool.map(use, [codes[3]] * 4, range(4))) == [False, False, False, True]


@pytest.mark.long
@pytest.mark.parametrize("door", ["/admin/login/", "/api/token", "/admin/login/code/"])
def test_wrong_codes_lock_out_like_wrong_passwords(user: User, client: Client, door: str) -> None:
    codes = enrol(user)
    give_password(client)
    answers = [client.post(CODE, {"code": f"{number:06}"}).status_code for number in range(5)]
    assert answers == [200] * 4 + [429]
    body: dict[str, str] = {"username": "anna", "password": PASSWORD, "code": codes[0]}
    kind = {"content_type": "application/json"} if door == "/api/token" else {}
    assert client.post(door, body, **kind).status_code == 429  # type: ignore[arg-type]
    assert Client(REMOTE_ADDR="10.0.0.9").post("/api/token", body, "application/json").status_code == 200


def test_wrong_codes_from_many_addresses_stop_the_app(user: User, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever has the password and many addresses could guess on and on; a recovery code ends it."""
    monkeypatch.setattr(second_factor, "MOST_WRONG_CODES", 6)
    codes = enrol(user)

    def use(text: str, number: int) -> bool:
        request = RequestFactory().post("/", REMOTE_ADDR=f"10.0.0.{number}")
        return second_factor.use_code(request, user, text) is not None

    assert not any(use(f"{number:06}", number) for number in range(5))
    assert use(code(), 10), "the sixth is right, and the count begins again"
    assert not any(use(f"{number:06}", number) for number in range(20, 26))
    assert not use(code(steps=1), 30)
    assert use(codes[0], 31)
    assert use(code(steps=1), 32)


def test_a_right_password_does_not_forgive_wrong_codes(user: User) -> None:
    enrol(user)
    answers = []
    for number in range(5):
        client = Client()
        if client.post("/admin/login/", {"username": "anna", "password": PASSWORD}).status_code == 302:
            answers.append(client.post(CODE, {"code": f"{number:06}"}).status_code)
    assert answers == [200] * 4 + [429]


def test_nobody_needs_redis(user: User, client: Client, redis_server: Any) -> None:
    enrol(user)
    redis_server.kill()
    assert give_password(client) == CODE
    now = code()
    assert client.post(CODE, {"code": "000000"}).status_code == 200
    assert client.post(CODE, {"code": now}).status_code == 302
    other = Client()
    give_password(other)
    assert other.post(CODE, {"code": now}).status_code == 200, "used by another process too"
    body = {"username": "anna", "password": PASSWORD, "code": now}
    assert client.post("/api/token", body, "application/json").status_code == 401


def test_secrets_are_encrypted(user: User, client: Client) -> None:
    give_password(client)
    secret = key_on(client.get(SET_UP).content.decode())
    stored = [Session.objects.get().get_decoded()]
    client.post(SET_UP, {"code": code(secret)})
    stored += [Session.objects.get().get_decoded(), *Authenticator.objects.values("data")]
    assert secret not in str(stored)
    seed = Authenticator.objects.get(type="recovery_codes").data["seed"]
    assert second_factor.decrypt(seed) != seed


def test_a_former_key_decrypts_until_the_next_use(user: User, settings: Settings) -> None:
    enrol(user)
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = "n" * 60, [settings.SECRET_KEY]
    request = RequestFactory().post("/")
    assert second_factor.use_code(request, user, code())
    settings.SECRET_KEY_FALLBACKS = []
    assert second_factor.use_code(request, user, code(steps=1))


def test_lost_recovery_codes_can_be_replaced(user: User, client: Client, settings: Settings) -> None:
    """They are not encrypted again by being used."""
    enrol(user)
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = "n" * 60, [settings.SECRET_KEY]
    give_password(client)
    client.post(CODE, {"code": code()})
    settings.SECRET_KEY_FALLBACKS = []
    give_password(client)
    with time_machine.travel(time.time() + 30):
        client.post(CODE, {"code": code()})
        assert "0 recovery codes are left." in client.get(reverse("mfa_index")).content.decode()
        assert client.get(reverse("mfa_view_recovery_codes")).status_code == 404
        assert client.get(reverse("mfa_generate_recovery_codes")).status_code == 200
        client.post(reverse("mfa_generate_recovery_codes"))
        assert second_factor.codes_left(user) == 10


def test_an_unreadable_factor_refuses_each_code(
    user: User, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    codes = enrol(user)
    settings.SECRET_KEY = "n" * 60
    assert [second_factor.use_code(RequestFactory().post("/"), user, text) for text in (code(), codes[0])] == [None] * 2
    assert [record.message for record in caplog.records if record.levelname == "ERROR"] == [
        "second factor unreadable"
    ] * 4


def test_removing_it_ends_all_log_ins(user: User, client: Client) -> None:
    enrol(user)
    other = Client()
    other.force_login(user)
    tokens = client.post(
        "/api/token", {"username": "anna", "password": PASSWORD, "code": code()}, "application/json"
    ).json()
    give_password(client)
    client.post(CODE, {"code": code(steps=1)})
    assert client.get(reverse("mfa_deactivate_totp")).status_code == 200
    assert factors(user) == ["recovery_codes", "totp"]
    assert client.post(reverse("mfa_deactivate_totp"))["Location"] == "/admin/login/"
    assert factors(user) == []
    assert not LogIn.objects.usable().exists()
    assert not is_open(client)
    refused = client.post("/api/token/refresh", {"refresh": tokens["refresh"]}, "application/json")
    assert refused.status_code == 401
    assert give_password(client) == "/admin/"
    assert client.get("/admin/")["Location"].startswith(SET_UP)


def test_changing_it_needs_a_recent_code(user: User, client: Client) -> None:
    enrol(user)
    give_password(client)
    client.post(CODE, {"code": code()})
    with time_machine.travel(time.time() + 400):
        for name in ("mfa_deactivate_totp", "mfa_generate_recovery_codes"):
            assert client.post(reverse(name))["Location"].startswith(f"{AGAIN}?next=")
        assert factors(user) == ["recovery_codes", "totp"]


def test_new_recovery_codes_replace_the_old(user: User, client: Client) -> None:
    old = enrol(user)
    give_password(client)
    client.post(CODE, {"code": code()})
    client.post(reverse("mfa_generate_recovery_codes"))
    new = re.findall(r"<li>(\d{8})</li>", client.get(reverse("mfa_view_recovery_codes")).content.decode())
    assert (len(new), set(new) & set(old)) == (10, set())
    assert is_open(client)
    assert "10 recovery codes are left." in client.get(reverse("mfa_index")).content.decode()


def test_each_change_is_a_log_line(
    user: User,
    client: Client,
    caplog: pytest.LogCaptureFixture,
    django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
) -> None:
    give_password(client)
    secret = key_on(client.get(SET_UP).content.decode())
    lines(caplog)
    with django_capture_on_commit_callbacks(execute=True):
        client.post(SET_UP, {"code": code(secret)})
        client.post(reverse("mfa_generate_recovery_codes"))
    client.post(reverse("mfa_deactivate_totp"))
    written = [(line["event"], line["user"], line.get("factor")) for line in lines(caplog)]
    assert written == [
        ("second_factor_added", "anna", "totp"),
        ("second_factor_added", "anna", "recovery_codes"),
        ("second_factor_replaced", "anna", "recovery_codes"),
        ("second_factor_removed", "anna", "totp"),
        ("second_factor_removed", "anna", "recovery_codes"),
        ("log_out", "anna", None),
    ]
    assert secret not in caplog.text
    enrol(user)
    give_password(client)
    client.post(CODE, {"code": "000000"})
    assert [line["outcome"] for line in lines(caplog)] == ["wrong_code"]


CLOSED = [
    "account_signup", "account_email", "account_reset_password", "account_change_password", "account_set_password",
    "account_email_verification_sent", "account_reset_password_done", "account_inactive", "account_logout",
    "account_confirm_login_code", "account_request_login_code", "account_request_reauthentication_code",
    "account_confirm_reauthentication_code", "account_reset_password_from_key_done", "mfa_download_recovery_codes",
    "mfa_trust", "mfa_add_webauthn", "socialaccount_signup", "socialaccount_connections",
    "socialaccount_login_cancelled", "socialaccount_login_error",
]  # fmt: skip


def names_of(patterns: Any) -> set[str]:
    return {name for each in patterns for name in (names_of(each.url_patterns) if hasattr(each, "url_patterns") else
            {each.name})}  # fmt: skip


def test_the_rest_of_allauth_is_closed(client: Client) -> None:
    """Sign-up, resets, e-mail addresses and connections have no address; a new name of allauth's fails here."""
    theirs = set[str]().union(*(names_of(module.urlpatterns) for module in (account, mfa, social, openid)))
    assert theirs >= names_of(urls.urlpatterns)
    closed = theirs - names_of(urls.urlpatterns)
    assert closed <= {*CLOSED, "account_confirm_email", "account_reset_password_from_key"}
    for name in closed:
        with pytest.raises(NoReverseMatch):
            reverse(name)
    for path in ("signup", "password/reset", "email", "social/signup", "social/connections", "3rdparty", "logout"):
        for prefix in ("/accounts", "/admin", "/admin/login", "/account"):
            assert client.get(f"{prefix}/{path}/").status_code in (302, 404)
            assert not client.get(f"{prefix}/{path}/").get("Location", "/admin/").startswith("/accounts")
