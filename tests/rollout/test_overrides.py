"""waffle's test helpers work for every flag, switch and sample, phases too: in transactions, nested, as decorators."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from django.contrib.auth.models import AnonymousUser
from django.db import connection, transaction
from django.http import HttpRequest
from django.test import RequestFactory, TestCase, TransactionTestCase
from waffle import flag_is_active, sample_is_active, switch_is_active
from waffle.models import Sample, Switch
from waffle.testutils import override_flag, override_sample, override_switch

from profiles.rollout.decision import current_state, decide, forget_state, is_collecting, is_monitored, is_processing
from profiles.rollout.models import Flag
from profiles.rollout.phases import EMERGENCY_STOP, PHASES, SHADOW, SWITCHES
from tests.conftest import Phases

PHONE = "+79161234567"
FLAGS = (*PHASES, SHADOW, "new_page", "stored_page")


def request() -> HttpRequest:
    request = RequestFactory().get("/")
    request.user = AnonymousUser()
    return request


class _Overrides:
    """Run each test as Django runs it in a transaction (TestCase) and without one (TransactionTestCase)."""

    def setUp(self) -> None:
        Flag.objects.get_or_create(name="stored_page")
        for name in PHASES[:2]:
            Flag.objects.filter(name=name).update(percent=100)

    @pytest.mark.long
    def test_it_overrides_each_flag(self) -> None:
        for name in FLAGS:
            before = list(Flag.objects.order_by("pk").values("name", "everyone", "percent"))
            for is_on in (True, False, True):
                with override_flag(name, active=is_on):
                    assert flag_is_active(request(), name) is is_on, name
                    with transaction.atomic(), override_flag(name, active=not is_on):
                        assert flag_is_active(request(), name) is not is_on, name
                    assert flag_is_active(request(), name) is is_on, name
            assert list(Flag.objects.order_by("pk").values("name", "everyone", "percent")) == before, name

    def test_it_overrides_the_decision(self) -> None:
        with override_flag(PHASES[2], active=True):
            assert decide(PHONE).stage == 3
            with override_flag(PHASES[1], active=False):
                assert decide(PHONE).stage == 1
                assert not is_collecting()
            assert decide(PHONE).stage == 3
        assert decide(PHONE).stage == 2

    def test_it_overrides_each_switch(self) -> None:
        for name in (*SWITCHES, EMERGENCY_STOP, "of_another_app"):
            before = list(Switch.objects.order_by("pk").values("name", "active"))
            for is_on in (True, False, True):
                with override_switch(name, active=is_on):
                    assert (switch_is_active(name), current_state().is_on(name)) == (is_on, is_on), name
                    with transaction.atomic(), override_switch(name, active=not is_on):
                        assert (switch_is_active(name), current_state().is_on(name)) == (not is_on, not is_on), name
                    assert current_state().is_on(name) is is_on, name
            assert list(Switch.objects.order_by("pk").values("name", "active")) == before, name

    def test_what_a_switch_controls_follows_at_once(self) -> None:
        for name, follows in (("webhook_processing", is_processing), ("monitoring", is_monitored)):
            for is_on in (False, True):
                with override_switch(name, active=is_on):
                    assert follows() is is_on
        with override_switch("profile_cache", active=False):
            assert decide(PHONE).reason == "SWITCH_OFF"
        with override_switch(EMERGENCY_STOP, active=True):
            assert decide(PHONE).reason == "KILLED"
        assert decide(PHONE).stage == 2

    def test_it_overrides_samples(self) -> None:
        for _ in range(2):
            with override_sample("half", active=True), transaction.atomic():
                assert sample_is_active("half")
                with override_sample("half", active=False):
                    assert not sample_is_active("half")
                assert sample_is_active("half")
            Sample.objects.update_or_create(name="half", defaults={"percent": 50})
        assert Sample.objects.get(name="half").percent == 50

    @override_flag(PHASES[2], active=True)
    @override_switch("monitoring", active=False)
    def test_it_works_as_a_decorator(self) -> None:
        assert decide(PHONE).stage == 3
        assert not is_monitored()

    def test_it_creates_and_deletes_a_phase_that_is_missing(self) -> None:
        Flag.objects.filter(name=PHASES[3]).delete()
        with override_flag(PHASES[3], active=True):
            assert decide(PHONE).stage == 4
        assert not Flag.objects.filter(name=PHASES[3]).exists()
        assert decide(PHONE).stage == 2

    def test_a_transaction_that_rolls_back_leaves_nothing(self) -> None:
        with transaction.atomic():
            override_flag(PHASES[2], active=True).enable()
            override_switch("monitoring", active=False).enable()
            assert (decide(PHONE).stage, is_monitored()) == (3, False)
            transaction.set_rollback(True)
        assert (decide(PHONE).stage, is_monitored()) == (2, True)


class TestInATransaction(_Overrides, TestCase):
    pass


class TestWithoutATransaction(_Overrides, TransactionTestCase):
    pass


@override_switch("profile_cache", active=False)
@override_flag(PHASES[1], active=True)
class TestAsAClassDecorator(TestCase):
    def test_it_is_in_force(self) -> None:
        assert decide(PHONE).reason == "SWITCH_OFF"
        assert is_collecting()

    def test_it_is_in_force_in_each_test(self) -> None:
        self.test_it_is_in_force()


@pytest.mark.django_db(transaction=True)
def test_other_threads_see_a_change_when_it_commits(phases: Phases) -> None:
    phases(100, 100)

    def stage() -> int:
        forget_state()
        try:
            return decide(PHONE).stage
        finally:
            connection.close()

    with ThreadPoolExecutor(1) as pool:
        with transaction.atomic():
            override_flag(PHASES[2], active=True).enable()
            assert (decide(PHONE).stage, pool.submit(stage).result(), decide(PHONE).stage) == (3, 2, 3)
        assert (decide(PHONE).stage, pool.submit(decide, PHONE).result().stage) == (3, 3)
        pool.submit(connection.close)
