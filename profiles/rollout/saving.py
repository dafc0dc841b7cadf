"""Keeps the rules and the audit around what code, forms and shells do to a flag that know nothing of the changes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from typing import Any

from django.db import transaction
from django.utils import timezone

from profiles.rollout import changes, rules
from profiles.rollout.controls import Controls, flag_as_json
from profiles.rollout.decision import forget_state
from profiles.rollout.lock import locked_rollout
from profiles.rollout.models import PHASES, SHADOW, Flag, Rollout
from profiles.rollout.rules import Order
from profiles.rollout.sentences import Sentence


@contextmanager
def saving(flag: Flag) -> Iterator[None]:
    """Surround ``Flag.save()``."""
    order = _order_of(flag, Sentence("Saved by code, without a reason"))
    with (_saving_phase if flag.name in PHASES else _saving_other)(flag, order):
        yield


@contextmanager
def deleting(flag: Flag) -> Iterator[None]:
    """Surround ``Flag.delete()``."""
    before, order = flag_as_json(flag), _order_of(flag, Sentence("Deleted without a reason"))
    with transaction.atomic():
        yield
        _tell("delete", flag, order, before, {})
    transaction.on_commit(forget_state)


def _order_of(flag: Flag, without_reason: Sentence) -> Order:
    return Order(flag.change_by or "code", flag.change_reason or without_reason)


def _tell(action: str, flag: Flag, order: Order, before: dict[str, Any], after: dict[str, Any]) -> None:
    """Count the revision for what decides something of the rollout; the flag of another app makes no step void."""
    if flag.name in (*PHASES, SHADOW):
        changes.note(action, order, after, before=before)
    else:
        changes.leave_row(action, order, revision=Rollout.current().revision, before=before, after=after)


@contextmanager
def _saving_other(flag: Flag, order: Order) -> Iterator[None]:
    flag.percent = rules.percentage(flag.percent)
    was = Flag.objects.filter(pk=flag.pk).first()
    before, after = flag_as_json(was) if was else {}, flag_as_json(flag)
    with transaction.atomic():
        yield
        # The share of comparisons is made by a migration, which has its own row.
        if before != after and (before or flag.name != SHADOW):
            _tell("flag" if flag.change_reason else "save", flag, order, before, after)
    transaction.on_commit(forget_state)


@contextmanager
def _saving_phase(flag: Flag, order: Order) -> Iterator[None]:
    with locked_rollout() as rollout:
        rules.refuse_own_salt(flag)
        before = Controls.read(rollout)
        after = deepcopy(before)
        after.percents = before.moved(flag.name, flag.percent)
        after.everyone.pop(flag.name, None)
        if flag.everyone is not None:
            after.everyone[flag.name] = flag.everyone
        if flag.everyone and not before.everyone.get(flag.name):
            before.refuse_raise()
        flag.percent = after.percents[flag.name]
        if before == after:
            yield
            return
        flag.moved_at = timezone.now()
        yield
        changes.write(rollout, before, after)
        changes.record(rollout, "save", order, before.as_json(), after.as_json())
