"""Waffle's own, but for what steers the rollout: a phase or a switch that is gone could not be audited or restored."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

from django.core.management.base import CommandError
from waffle.management.commands import waffle_delete

from config import shell
from profiles.rollout.models import EMERGENCY_STOP, PHASES, SHADOW, SWITCHES, Flag
from profiles.rollout.saving import deleting

_OURS = {*PHASES, SHADOW, *SWITCHES, EMERGENCY_STOP}


class Command(waffle_delete.Command):
    def handle(self, *args: Any, **options: Any) -> None:
        if not any(options[f"{kind}_names"] for kind in ("flag", "sample", "switch")):
            raise CommandError("Say what to delete: --flags, --samples or --switches, each with names")
        for kind in ("flag_names", "switch_names"):
            if ours := sorted(_OURS & set(options[kind] or ())):
                raise CommandError(f"{ours[0]} steers the rollout and is not deleted: set it to 0, or turn it off")
        with ExitStack() as audited:
            for flag in Flag.objects.filter(name__in=options["flag_names"] or ()):
                flag.change_by = shell.login()
                audited.enter_context(deleting(flag))
            super().handle(*args, **options)
