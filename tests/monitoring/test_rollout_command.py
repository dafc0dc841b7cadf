"""The operator's commands: what they show and refuse, and that a preview is exact."""

import html
import io
import re
import subprocess
import sys
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.test import Client
from django.urls import reverse
from django.utils import timezone, translation
from django.utils.html import strip_tags
from django.utils.translation import gettext
from waffle.models import Switch

from employees.models import Employee, University
from monitoring.dashboard import explanation
from monitoring.indicators import probe, rounds
from monitoring.indicators.models import IndicatorReading, RoundTrip
from monitoring.rollout_control.guide.checklist import CHECKS, TO_SIGN, checklist_status
from monitoring.rollout_control.models import GateCheck, Signature, Verdict
from monitoring.rollout_control.preview import preview
from profiles.models import Comparison
from profiles.models.comparison import Pattern
from profiles.rollout.decision import Reason, bucket, current_state, decide, forget_state
from profiles.rollout.models import Change, Flag, Plan, Rollout, UniversityRule
from profiles.rollout.phases import PHASES, SHADOW
from profiles.rollout.presenters import percentage
from tests.conftest import Phases
from tests.monitoring.comparison_rows import compared
from tests.profiles.people import add_profile
from tests.rollout.changing import change

SUBCOMMANDS = [
    *("status", "explain", "preview", "set", "advance", "pause", "resume", "schedule", "replay", "history", "gates"),
    *("switch", "university", "on-breach", "checklist"),
]

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("redis")]


def run(*words: Any) -> str:
    out = io.StringIO()
    call_command(*map(str, words), stdout=out)
    forget_state()
    return out.getvalue()


def test_status_is_a_line_a_phase(phases: Phases) -> None:
    phases(100, 100, 25)
    lines = run("rollout", "status").splitlines()
    # The reasons why a step waits are folded below its phase.
    unfolded = [line for line in lines[1:] if not line.startswith(" ")]
    titles = ["Infrastructure", "Collection", "Gradual transition", "Cache primary"]
    assert [line.split("  ")[0] for line in unfolded[:4]] == [
        f"Phase {n}, {title}" for n, title in enumerate(titles, 1)
    ]
    assert "25%  In progress" in unfolded[2]
    assert unfolded[4].startswith("revision ")
    assert unfolded[5].startswith("0 of 0 processes")


def test_status_shows_the_age_of_an_old_round(phases: Phases, monkeypatch: pytest.MonkeyPatch) -> None:
    phases(100, 100, 25)
    add_profile("7")
    monkeypatch.setattr("monitoring.rollout_control.gates.ENTERING", {3: ("quality",)})
    monkeypatch.setattr("monitoring.rollout_control.gates.WIDENING", {})
    assert run("rollout", "status").splitlines()[3].rstrip().endswith("50%: every gate passes")
    IndicatorReading.objects.update(round_at=timezone.now() - timedelta(minutes=12))
    assert run("rollout", "status").splitlines()[3].rstrip().endswith("every gate passes (measured 12\u00a0min ago)")


def test_status_shows_no_verdict_of_an_earlier_step(phases: Phases, monkeypatch: pytest.MonkeyPatch) -> None:
    phases(100, 100, 25)
    monkeypatch.setattr("monitoring.rollout_control.gates.ENTERING", {3: ()})
    monkeypatch.setattr("monitoring.rollout_control.gates.WIDENING", {3: ("cohort_errors",)})
    GateCheck.objects.create(phase=3, gate="cohort_errors", verdict=Verdict.PASS)
    assert run("rollout", "status").splitlines()[3].rstrip().endswith("every gate passes")
    Flag.objects.filter(name=PHASES[2]).update(moved_at=timezone.now())
    assert run("rollout", "status").splitlines()[3].rstrip().endswith("waiting for: not checked yet since the last")


def test_each_has_help(capsys: pytest.CaptureFixture[str]) -> None:
    for subcommand in SUBCOMMANDS:
        with pytest.raises(SystemExit) as end:
            call_command("rollout", subcommand, "--help")
        assert end.value.code == 0, subcommand
        assert "usage:" in capsys.readouterr().out, subcommand


@pytest.mark.integration
def test_a_refusal_is_one_line_and_an_exit_code() -> None:
    command = [sys.executable, "manage.py", "rollout", "set", "--phase", "9", "--percent", "1", "--reason", "r"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    assert done.returncode == 1
    assert done.stderr == "CommandError: There is no phase “9”: choose 1, 2, 3 or 4.\n"


@pytest.fixture
def directory(phases: Phases, university: University) -> list[Employee]:
    phases(100, 100, 5)
    other = University.objects.create(name="Другой")
    UniversityRule.objects.create(university_id=other.pk, phase=3, is_allowed=True, reason="pilot")
    forget_state()
    return Employee.objects.bulk_create(
        Employee(phone=f"+7916{number:07d}", university=university if number % 3 else other) for number in range(300)
    )


@pytest.mark.parametrize("target", [Decimal(50), Decimal("0.5"), Decimal(5)])
def test_a_preview_names_exactly_who_changes_path(directory: list[Employee], phases: Phases, target: Decimal) -> None:
    add_profile("7")
    seen = preview(PHASES[2], 3, target, limit=300)
    assert replace(preview(PHASES[2], 3, target, 300, may_be_cached=True), counted_at=seen.counted_at) == seen
    before = {person.pk: decide(person.phone, person.university_id).stage for person in directory}
    phases(100, 100, float(target))
    moved = [p.pk for p in directory if decide(p.phone, p.university_id).stage != before[p.pk]]
    assert [person.pk for person in seen.people] == moved
    assert seen.total == len(moved) == seen.without_profile


def test_a_preview_is_readable(directory: list[Employee]) -> None:
    output = run("rollout", "preview", "--phase", 3, "--percent", 50, "--limit", 2)
    assert "move from the direct API to the cache" in output
    assert "+7916" not in output


def test_explain_shows_what_each_store_has(directory: list[Employee]) -> None:
    add_profile("7")
    Employee.objects.filter(pk=directory[1].pk).update(max_id="7")
    output = " ".join(run("rollout", "explain", "--phone", directory[1].phone).split())
    assert "Иван Петров (webhook)" in output
    assert directory[1].university.name in output
    assert "Name No name would be found: the rollout does not use the cache for this person yet" in output
    with pytest.raises(CommandError, match="Enter a Russian phone number"):
        run("rollout", "explain", "--phone", "me")


@pytest.mark.long
@pytest.mark.parametrize("language", ["en", "ru"])
@pytest.mark.parametrize(
    "percents", [(0, 0, 0, 0), (100, 0, 0, 0), (100, 100, 0, 0), (100, 100, 25, 0), (100, 100, 100, 30), (100,) * 4]
)
def test_the_command_and_the_page_explain_a_stage_in_the_same_sentences(
    directory: list[Employee], phases: Phases, admin_client: Client, percents: tuple[int, ...], language: str
) -> None:
    phases(*percents)
    salt = current_state().salts[PHASES[2]]
    for phone in [f"+791622233{number:02}" for number in range(8)]:
        stage = decide(phone).stage
        with translation.override(language):
            entry = percentage(Decimal(bucket(salt, phone) + 1) / 100)
            output = " ".join(run("rollout", "explain", "--phone", phone).split())
            page = admin_client.post(reverse("screens:person"), {"who": phone}, headers={"Accept-Language": language})
            shown = " ".join(html.unescape(strip_tags(page.content.decode())).split())
            # A person in stage 2 or 3 waits for the next phase; stages 0 and 1 wait for phases that include everybody.
            for number in range(3, min(stage + 1, 4) + 1) if stage >= 2 else ():
                params = {"phase": number, "percent": percentage(Decimal(percents[number - 1])), "entry": entry}
                msgid = "Phase %(phase)d is at %(percent)s; it includes this phone from %(entry)s upwards."
                sentence = " ".join((gettext(msgid) % params).split())
                assert sentence in output
                assert sentence in shown
            assert str(Reason.SPLIT.label) not in output + shown
        assert not re.search(r"\b(SPLIT|DEFAULT|[a-z]+_[a-z_]+)\b|bucket|Корзина", output)


def test_a_denied_university_is_the_reason_in_words(directory: list[Employee], phases: Phases) -> None:
    phases(100, 100, 100)
    rule = UniversityRule(university_id=directory[0].university_id, phase=3, is_allowed=False, reason="pilot")
    UniversityRule.objects.bulk_create([rule])
    output = " ".join(run("rollout", "explain", "--phone", directory[0].phone).split())
    assert (
        "Reason A rule excludes the university from the phase. Phase 3 is at 100%; it includes this phone from"
        in output
    )


@pytest.mark.parametrize("language", ["en", "ru"])
@pytest.mark.parametrize("reason", [reason for reason in Reason if reason not in (Reason.SPLIT, Reason.DEFAULT)])
def test_the_reason_is_named_once(reason: Reason, language: str) -> None:
    facts = {"reason": reason, "stage": 0, "bucket": 5, "phases": (0,) * 4, "configured": (0,) * 4}
    facts |= dict.fromkeys(("served", "employee", "max_id", "claimed_id", "redis", "record", "age", "api"))
    with translation.override(language):
        title = gettext("Reason")
        shown = dict(explanation.rows(facts | {"record": "", "revision": 1}))[title]
        assert shown.casefold().startswith(str(reason.label).casefold())
        assert shown[0].isupper()
        assert explanation.reasons(facts)[0] == f"{title}: {reason.label}."


@pytest.mark.parametrize(
    ("language", "sentence"),
    [
        ("en", "An override applies: without it, phase {number} would be at {percent}."),
        ("ru", "Действует переопределение: без него фаза {number} была бы на {percent}."),
    ],
)
@pytest.mark.parametrize(
    ("percents", "everyone", "expected"),
    [
        ((100, 100, 5, 0), {3: True}, {3: 5}),
        ((100, 100, 5, 0), {4: True}, {3: 5, 4: 0}),
        ((0, 0, 0, 0), {3: True}, {3: 0}),
        ((100, 100, 100, 100), {2: False}, {2: 100}),
        ((100, 100, 100, 30), {1: False}, {1: 100}),
        ((100, 100, 5, 0), {}, {}),
        ((100, 100, 100, 0), {3: True}, {}),
        ((100, 100, 5, 0), {4: False}, {}),
    ],
)
def test_an_override_is_explained(
    phases: Phases, admin_client: Client, percents: tuple[int, ...], everyone: dict[int, bool],
    expected: dict[int, int], language: str, sentence: str,
) -> None:  # fmt: skip
    phases(*percents)
    for number, is_on in everyone.items():
        Flag.objects.filter(name=PHASES[number - 1]).update(everyone=is_on)
    forget_state()
    with translation.override(language):
        shares = {number: percentage(Decimal(percent)) for number, percent in expected.items()}
        output = " ".join(run("rollout", "explain", "--phone", "+79161234567").split())
        page = admin_client.post(
            reverse("screens:person"), {"who": "+79161234567"}, headers={"Accept-Language": language}
        )
    shown = " ".join(html.unescape(strip_tags(page.content.decode())).split())
    for text in (output, shown):
        for number, share in shares.items():
            assert " ".join(sentence.format(number=number, percent=share).split()) in text
        assert text.count(sentence.split(":", maxsplit=1)[0]) == len(expected), text


def test_a_university_is_let_in_and_kept_out(directory: list[Employee]) -> None:
    with pytest.raises(CommandError, match="There is no university 77"):
        run("rollout", "university", "deny", "--id", 77, "--reason", "pilot")
    University.objects.create(pk=77, name="77")

    def rule(word: str) -> tuple[int, str]:
        run("rollout", "university", word, "--id", 77, "--reason", "pilot")
        decision = decide(None, 77)
        return decision.stage, decision.reason

    assert rule("allow") == (3, "ALLOWED")
    assert rule("deny") == (2, "DENIED")
    assert rule("clear") == (2, "SPLIT")


def test_a_replay_and_the_comparisons(phases: Phases) -> None:
    compared(200)
    compared(10, "conflict", pattern="script")
    University.objects.create(pk=1, name="Горный")
    compared(10, university_id=987)
    replayed = run("rollout", "replay", "--percent", 50)
    assert "Conflicts                           5" in replayed
    table = replayed.partition("UNIVERSITY")[2].splitlines()[1:]
    assert [line.split("  ")[0] for line in table] == ["Горный", "deleted university"]
    Comparison.objects.filter(university_id=987).delete()
    output = run("rollout", "gates", "--phase", 3, "--dry-run")
    assert "agreement 95.2%, coverage 100.0%, errors 0.0% (n = 210)" in output
    assert f"conflicts: {Pattern.SCRIPT.label} 10" in output


def test_gates_that_pass_do_not_hide_the_phase_before(phases: Phases, monkeypatch: pytest.MonkeyPatch) -> None:
    phases(0, 0)
    monkeypatch.setattr("monitoring.rollout_control.gates.ENTERING", {1: (), 2: (), 3: (), 4: ()})
    output = run("rollout", "gates", "--phase", 2, "--dry-run")
    assert "Every gate passes, but not yet: Phase 2 cannot go to 100%: phase 1 is at 0%" in output
    assert "All gates pass: phase 1 can take its next step" in run("rollout", "gates", "--phase", 1, "--dry-run")


def test_a_schedule_takes_a_moment_or_a_duration(phases: Phases) -> None:
    phases(100, 100, 5)
    for at in ("12h", "2031-01-01T09:00+03:00"):
        run("rollout", "schedule", "--phase", 3, "--percent", 25, "--at", at, "--reason", "r")
    assert Plan.objects.count() == 2
    for words in (("--at", "soon"), ("--at", "1h", "--expect-revision", Rollout.current().revision - 1)):
        with pytest.raises(CommandError):
            run("rollout", "schedule", "--phase", 3, "--percent", 25, "--reason", "r", *words)


def test_history_shows_what_was_forced(phases: Phases) -> None:
    phases(100, 100, 5)
    run("rollout", "advance", "--reason", "the fair", "--force", "--by", "olga")
    output = run("rollout", "history", "--limit", 1)
    assert "olga" in output
    assert "forced although" in output
    assert "olga" not in run("rollout", "history", "--limit", 0)


def test_waffle_delete_deletes_what_is_named(phases: Phases) -> None:
    Switch.objects.create(name="of_another_app")
    assert run("waffle_delete", "--switches", "of_another_app") == "Deleted 1 Switches\n"


def test_waffle_commands_follow_the_rules(phases: Phases) -> None:
    phases(100, 100, 5)
    assert "NAME: phase3_cache_first\nSUPERUSERS: False\nEVERYONE: None" in run("waffle_flag", "--list")
    run("waffle_flag", "new_page", "--create", "--percent", "12.5", "--reason", "a page of another app")
    assert "Profile cache: on → off" in run("rollout", "switch", "profile_cache", "off", "--reason", "r")
    for switch in ("profile_cache", "emergency_stop"):
        with pytest.raises(CommandError, match=f"Use “rollout switch {switch} "):
            run("waffle_switch", switch, "on")
    Switch.objects.create(name="of_another_app")
    run("waffle_switch", "of_another_app", "on")
    assert Switch.objects.get(name="of_another_app").active


@pytest.mark.parametrize(
    "words",
    [
        ("waffle_flag", PHASES[2], "--percent", "1"),
        ("waffle_flag", SHADOW, "--deactivate", "--reason", " "),
        ("rollout", "switch", "profile_cache", "off"),
    ],
)
def test_waffle_commands_change_nothing_without_a_reason(phases: Phases, words: tuple[str, ...]) -> None:
    phases(100, 100, 5)
    recorded = Change.objects.count()
    with pytest.raises(CommandError, match=r"^A reason is required\.$"):
        run(*words)
    assert Change.objects.count() == recorded
    assert (Flag.objects.get(name=PHASES[2]).percent, Switch.objects.get(name="profile_cache").active) == (5, True)


def test_a_checklist_item_is_measured_or_signed(phases: Phases, superadmin: User, client: Client) -> None:
    phases(100)
    readings = rounds.latest()
    done = {status.name for status in checklist_status(readings) if status.is_done}
    assert done >= {"deploy", "migrations", "sources"}
    client.force_login(superadmin)
    item = TO_SIGN[0][0]
    assert client.post("/admin/monitoring/signature/add/", {"item": item, "note": "tar.gz on s3"}).status_code == 302
    signed = next(status for status in checklist_status(readings) if status.name == item)
    assert signed.is_done
    assert signed.message == "signed by root: tar.gz on s3"
    Signature.objects.update(signed_at=timezone.now() - timedelta(9), expires_at=timezone.now())
    assert not next(status for status in checklist_status(readings) if status.name == item).is_done
    assert run("rollout", "checklist").count("\n") >= len(CHECKS) + len(TO_SIGN)


def test_a_measured_item_cannot_be_signed(superadmin: User, client: Client) -> None:
    client.force_login(superadmin)
    assert client.post("/admin/monitoring/signature/add/", {"item": next(iter(CHECKS)), "note": "x"}).status_code == 200
    assert not Signature.objects.exists()


def test_a_pause_holds_and_a_resume_goes_on(phases: Phases) -> None:
    phases(100, 100, 5)
    run("rollout", "pause", "--reason", "holiday")
    with pytest.raises(CommandError, match=r"The rollout is paused \(holiday\)"):
        run("rollout", "advance", "--reason", "r", "--force")
    run("rollout", "resume", "--reason", "back")
    change("set", phase=3, percent=4, by="t", reason="r")


def test_a_probe_counts_at_once(phases: Phases, monkeypatch: pytest.MonkeyPatch) -> None:
    """A round that was stored a moment before the probe does not hide it."""
    phases(100, 0)
    monkeypatch.setattr(rounds, "FRESH", timedelta(minutes=1))
    rounds.take_round()
    monkeypatch.setattr(probe, "round_trip", lambda: RoundTrip.objects.create(took_ms=10))
    assert "no synthetic update" not in run("rollout", "gates", "--phase", 2, "--probe", "--dry-run")
