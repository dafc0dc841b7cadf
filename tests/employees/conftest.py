from collections.abc import Callable

import pytest
from django.contrib.auth.models import Group, User
from rest_framework.test import APIClient

from employees.models import Membership, University
from tests.conftest import client_of

AsRole = Callable[..., APIClient]


@pytest.fixture
def as_role(db: None) -> AsRole:
    """A client with a role at a university, or at none."""

    def client(role: str | None, university: University | None = None) -> APIClient:
        user = User.objects.create_user(f"{role}-{User.objects.count()}")
        if role:
            user.groups.add(Group.objects.get_or_create(name=role)[0])
        if university:
            Membership.objects.create(user=user, university=university)
        return client_of(user)

    return client
