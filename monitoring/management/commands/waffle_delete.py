"""Waffle's own, but for what steers the rollout: a phase or a switch that is gone could not be audited or restored."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandError
from django.db import transaction
from waffle.management.commands import waffle_delete

from config.lib import shell_user
from config.lib.messages import Message
from profiles.rollout import changes
from profiles.rollout.change_request import ChangeRequest, Source
from profiles.rollout.models import Action, Flag
from profiles.rollout.phases import EMERGENCY_STOP, PHASES, SHADOW, SWITCHES

_OURS = {*PHASES, SHADOW, *SWITCHES, EMERGENCY_STOP}


class Command(waffle_delete.Command):
    def handle(self, *args: Any, **options: Any) -> None:
        if not any(options[f"{kind}_names"] for kind in ("flag", "sample", "switch")):
            raise CommandError("Say what to delete: --flags, --samples or --switches, each with names")
        for kind in ("flag_names", "switch_names"):
            if ours := sorted(_OURS & set(options[kind] or ())):
                raise CommandError(f"{ours[0]} steers the rollout and is not deleted: set it to 0, or turn it off")
        reason = Message("Deleted without a reason")
        with transaction.atomic():
            for flag in Flag.objects.filter(name__in=options["flag_names"] or ()):
                by = shell_user.login()
                changes.apply(ChangeRequest.of(Action.DELETE, Source.COMMAND, by=by, reason=reason, flag=flag))
            super().handle(*args, **options)
