"""A sentence that another release kept, and whose words this one cannot put together: no page breaks by it."""

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone

from monitoring.alerts.models import Alert
from monitoring.indicators import rounds
from monitoring.indicators.models import IndicatorReading
from monitoring.rollout_control.models import GateCheck
from profiles.rollout.models import Change, Rollout
from tests.conftest import Phases

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("redis")]


@pytest.mark.parametrize("language", ["en", "ru"])
@pytest.mark.parametrize(
    "broken",
    [
        {"msgid": "Dropped: planned at revision %(then)d, the rollout is at %(now)d", "words": {"then": 1}},
        {"msgid": "Dropped: planned at revision %(then)d, the rollout is at %(now)d", "words": {"then": "x", "now": 1}},
        {"msgid": "%(a)", "words": {}},
        {"msgid": "100 %", "words": {"a": 1}},
        {"msgid": "%(a)s", "words": {"a": {"msgid": "%(b)s", "words": {}}}},
        {"msgid": "%(a)s", "words": ["a"]},
        {"words": {}},
        {},
    ],
)
def test_it_is_told_as_it_was_kept(
    client: Client, superadmin: User, phases: Phases, language: str, broken: dict[str, Any]
) -> None:
    client.force_login(superadmin)
    phases(100, 100, 25)
    kept = broken | {"text": "как было"}
    rounds.take_round()
    IndicatorReading.objects.update(message=broken)
    GateCheck.objects.create(phase=3, gate="cohort_speed", verdict="FAIL", message="как было", sentence=kept)
    Alert.objects.create(
        kind="dead_letters", severity="critical", message="как было", words={}, fired_at=timezone.now()
    )
    Change.objects.create(by="t", action="pause", reason="как было", revision=1, sentence=kept)
    Rollout.objects.update_or_create(pk=1, defaults={"is_paused": True, "held_for": "как было", "held_sentence": kept})
    for path, count in {"/admin/live/home/": 3, "/admin/rollout/": 3, "/admin/audit/": 1}.items():
        answer = client.get(path, headers={"Accept-Language": language})
        assert answer.status_code == 200, path
        assert answer.content.decode().count("как было") >= count, path
