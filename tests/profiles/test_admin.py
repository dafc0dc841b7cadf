import pytest
from django.contrib.auth.models import Permission, User
from django.db import OperationalError
from django.test import Client
from django.urls import reverse
from redis import Redis

from employees.models import Membership, University
from profiles.models import Erasure, Profile, Tombstone
from profiles.personal_data.erasure import person_erased
from tests.profiles.people import add_profile, cached

# With commits, after which names entered by hand are written to Redis.
pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def operator(client: Client, superadmin: User) -> Client:
    client.force_login(superadmin)
    return client


def change(operator: Client, user_id: str, **names: str) -> int:
    url = reverse("admin:profiles_profile_change", args=[user_id])
    return operator.post(url, {"first_name": "", "last_name": "", "user_provided_name": "", **names}).status_code


def test_a_name_by_hand_is_merged_and_reaches_redis(operator: Client, redis: Redis) -> None:
    before = add_profile("7", "Иван", None)
    assert change(operator, "7", first_name="Пётр") == 302
    profile = Profile.objects.get()
    assert (profile.first_name, profile.last_name) == ("Пётр", None)
    assert profile.first_name_set_at
    assert before.first_name_set_at
    assert profile.first_name_set_at > before.first_name_set_at
    assert cached(redis, "7")["max_first_name"] == "Пётр"


def test_a_new_profile(operator: Client, redis: Redis) -> None:
    url = reverse("admin:profiles_profile_add")
    assert operator.post(url, {"user_id": "42", "first_name": "Анна"}).status_code == 302
    assert cached(redis, "42")["max_first_name"] == "Анна"
    assert operator.post(url, {"user_id": "042", "first_name": "Анна"}).status_code == 200


@pytest.mark.parametrize("text", ["Анна1", "a@b", "<b>", "...", "А\u200b-1"])
def test_an_own_name_is_refused_as_by_the_api(operator: Client, redis: Redis, text: str) -> None:
    url = reverse("admin:profiles_profile_add")
    answer = operator.post(url, {"user_id": "42", "user_provided_name": text})
    message = "Use 1 to 100 letters, spaces, hyphens, apostrophes or dots."
    assert answer.context["adminform"].form.errors == {"user_provided_name": [message]}
    add_profile("7")
    assert change(operator, "7", user_provided_name=text) == 200
    assert not Profile.objects.filter(user_provided_name__isnull=False).exists()


@pytest.mark.parametrize("names", [{}, {"first_name": " ", "last_name": ""}, {"first_name": "⁠"}])
def test_a_profile_without_a_name_is_refused(operator: Client, redis: Redis, names: dict[str, str]) -> None:
    answer = operator.post(reverse("admin:profiles_profile_add"), {"user_id": "42"} | names)
    assert "Enter a first name, a last name or a user-provided name." in str(
        answer.context["adminform"].form.non_field_errors()
    )
    assert not Profile.objects.exists()


def test_names_by_hand_are_cleaned(operator: Client, redis: Redis) -> None:
    url = reverse("admin:profiles_profile_add")
    names = {"first_name": "Ан\u200bна", "last_name": " Ли  Ким ", "user_provided_name": "Аня  О’Хара"}
    assert operator.post(url, {"user_id": "42"} | names).status_code == 302
    profile = Profile.objects.get()
    assert (profile.first_name, profile.last_name, profile.user_provided_name) == ("Анна", "Ли Ким", "Аня О’Хара")


def test_deleting_forgets_it_in_redis_too(operator: Client, redis: Redis) -> None:
    add_profile("7")
    operator.post(reverse("admin:profiles_profile_delete", args=["7"]), {"post": "yes", "reason": "asked to"})
    assert not Profile.objects.exists()
    assert not redis.exists("profile:user:7")


def test_an_erasure_that_fails_leaves_its_tombstone(operator: Client, redis: Redis) -> None:
    def fail(**_: object) -> None:
        raise OperationalError

    add_profile("7")
    page = reverse("admin:profiles_profile_delete", args=["7"])
    person_erased.connect(fail)
    try:
        assert operator.post(page, {"post": "yes", "reason": "asked to"}).status_code == 503
    finally:
        person_erased.disconnect(fail)
    assert Tombstone.objects.get().unfinished_id == "7"
    strict = Client(enforce_csrf_checks=True)
    strict.cookies = operator.cookies
    assert strict.post(page, {"post": "yes", "reason": "asked to"}).status_code == 403
    assert Profile.objects.exists()


def test_an_erasure_counts_rows_by_model_name(operator: Client) -> None:
    operator.cookies["django_language"] = "en"
    counts = {"employees": 1, "phone_links": 2, "comparisons": 0, "of_an_older_release": 3}
    row = Erasure.objects.create(by="root", reason="asked to", person="x", counts=counts)
    for name, args in (("changelist", []), ("change", [row.pk])):
        page = operator.get(reverse(f"admin:profiles_erasure_{name}", args=args)).content.decode()
        assert "Employees: 1<br>Phone links: 2<br>of_an_older_release: 3" in page, name
        assert "phone_links" not in page


def test_who_is_limited_to_a_university_adds_no_profile(client: Client, redis: Redis, university: University) -> None:
    user = User.objects.create_user("operator", is_staff=True)
    permissions = Permission.objects.filter(content_type__app_label="profiles", codename__endswith="_profile")
    user.user_permissions.set(permissions)
    client.force_login(user)
    url, form = reverse("admin:profiles_profile_add"), {"user_id": "42", "first_name": "Анна"}
    Membership.objects.create(user=user, university=university)
    assert client.post(url, form).status_code == 403
    assert not Profile.objects.exists()
    Membership.objects.all().delete()
    assert client.post(url, form).status_code == 302
