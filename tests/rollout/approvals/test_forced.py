"""A request to force a step past its gates says so wherever somebody decides on it, and in the audit log."""

import io
import re
from decimal import Decimal
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import call_command

from config.lib.messages import Message
from profiles.rollout import changes
from profiles.rollout.models import Approval, Flag, Rollout
from profiles.rollout.phases import PHASES
from tests.rollout.approvals.surfaces import NEEDED, api, browser, by_screen, posted

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("redis", "_waits")]
REFUSED, FORCED = "so this step will be refused", "requested in spite of this"


@pytest.fixture
def forced(monkeypatch: pytest.MonkeyPatch) -> Approval:
    evidence: list[dict[str, Any]] = [{"gate": "agreement", "verdict": "FAIL", "message": "m", "value": None}]
    monkeypatch.setattr(changes, "_gate_checks", [lambda *_: (evidence, Message("held"))])
    body = {"phase": 3, "percent": 100, "reason": "the fair opens", "force": True}
    assert posted(api(), "set", **body) == NEEDED
    return Approval.objects.get()


def preview_on(page: str) -> str:
    found = re.search(r'id="preview"[^>]*hx-get="([^"]+)"', page)
    assert found
    return browser("second").get(found[1].replace("&amp;", "&")).content.decode()


def test_the_page_says_that_approval_takes_the_step(second: User, forced: Approval) -> None:
    page = browser("second").get(f"/admin/approvals/{forced.pk}/").content.decode()
    assert "Requested although these gates did not pass: Agreement" in page
    assert FORCED in preview_on(page)
    assert REFUSED not in preview_on(page)
    assert by_screen(forced.pk, "second") == ""
    assert Flag.objects.get(name=PHASES[2]).percent == Decimal(100)


def test_a_step_that_is_not_forced_will_be_refused(second: User) -> None:
    assert posted(api(), "set", phase=3, percent=25) == NEEDED
    page = browser("second").get(f"/admin/approvals/{Approval.objects.get().pk}/").content.decode()
    assert REFUSED in preview_on(page)
    assert FORCED not in preview_on(page)


def test_while_the_rollout_is_paused_no_approval_takes_the_step(second: User, forced: Approval) -> None:
    page = browser("second").get(f"/admin/approvals/{forced.pk}/").content.decode()
    Rollout.objects.update(is_paused=True)
    assert "resume it first" in preview_on(page)
    assert FORCED not in preview_on(page)


def test_the_list_of_requests_shows_it(forced: Approval) -> None:
    out = io.StringIO()
    call_command("rollout", "approvals", stdout=out)
    assert "gates did not pass: Agreement" in out.getvalue()
    assert "Agreement" in out.getvalue()


def test_the_audit_log_shows_it(second: User, forced: Approval) -> None:
    assert by_screen(forced.pk, "second") == ""
    assert "· forced" in browser("second").get("/admin/audit/").content.decode()
