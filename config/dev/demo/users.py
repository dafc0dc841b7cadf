"""The people who can log in to the demo, and the key of the service that creates its employees."""

from datetime import timedelta

from django.contrib.auth.models import Group, Permission, User
from django.utils import timezone

from config.dev.demo.story import ADMIN, CLERK, OFFICER, OPERATOR
from employees.credentials.models import ApiKey
from employees.models import Membership, University

# By user name: what the person does, for the terminal, and the groups.
LOG_INS: dict[str, tuple[str, tuple[str, ...]]] = {
    OPERATOR: ("moves the rollout and is on call", ("operator", "rollout_manager")),
    CLERK: ("HR clerk of one university", ("operator", "curator")),
    OFFICER: ("data protection officer", ("data_protection_officer",)),
    ADMIN: ("may do everything", ()),
}
_SERVICE = "Кадровая система"


def password_of(name: str) -> str:
    return f"{name}-demo"


def create_users() -> None:
    for name, (_, groups) in LOG_INS.items():
        user = User.objects.create_user(name, password=password_of(name), is_staff=True, is_superuser=not groups)
        user.groups.set(Group.objects.filter(name__in=groups))


def limit_clerk(university_id: int) -> None:
    Membership.objects.create(
        user=User.objects.get(username=CLERK), university=University.objects.get(pk=university_id)
    )


def new_service_key() -> str:
    """Return a new API key that may create employees; revoke the key from the previous start of the demo."""
    now = timezone.now()
    ApiKey.objects.filter(name=_SERVICE, revoked_at=None).update(revoked_at=now)
    key = ApiKey(name=_SERVICE, owner=User.objects.get(username=ADMIN), expires_at=now + timedelta(days=30))
    text = key.generate()
    key.save()
    key.permissions.add(Permission.objects.get(codename="add_employee", content_type__app_label="employees"))
    return text
