import pytest
from django.contrib.auth.models import User
from django.test import Client

from tests.conftest import Phases
from tests.e2e import sample_data

READ = [
    "/admin/",
    "/admin/live/home/",
    "/admin/rollout/",
    "/admin/live/rollout/",
    "/admin/steer/3/?percent=50",
    "/admin/steer/3/preview/?percent=50",
    "/admin/steer/pause/",
    "/admin/steer/resume/",
    "/admin/steer/plan/",
    "/admin/steer/on-breach/",
    "/admin/steer/rehearsal/",
    "/admin/emergency/",
    "/admin/comparisons/",
    "/admin/checklist/",
    "/admin/checklist/items/",
    "/admin/sources/",
    "/admin/sources.csv",
    "/admin/cache/",
    "/admin/live/cache/",
    "/admin/person/",
]


@pytest.fixture
def operator(client: Client, phases: Phases, superadmin: User) -> Client:
    client.force_login(superadmin)
    return client


@pytest.fixture
def filled(operator: Client, redis: object) -> Client:
    sample_data.fill(200)
    return operator
