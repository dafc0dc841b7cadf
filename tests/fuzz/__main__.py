"""``python -m tests.fuzz [SECONDS]``: fuzz the parsers of updates with atheris, guided by coverage."""

import os
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

import django

_SEEDS = Path(__file__).parent.parent / "payloads"
_SECONDS = 60


def main() -> None:
    if find_spec("atheris") is None:
        sys.stderr.write("Skipped coverage-guided fuzzing: atheris is not installed (pip install --group fuzz)\n")
        return
    import atheris  # noqa: PLC0415 (optional)

    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    with atheris.instrument_imports(include=["webhooks", "profiles"]):
        django.setup()
        from django.utils import timezone  # noqa: PLC0415 (Django is set up by now)

        from webhooks import payloads  # noqa: PLC0415
        from webhooks.payloads.bot_commands import name_given_in  # noqa: PLC0415
        from webhooks.receiver import arrivals_in  # noqa: PLC0415

    def one(data: bytes) -> None:
        name_given_in(data.decode(errors="replace"))
        arrivals_in(data, timezone.now())
        try:
            for item in payloads.unwrap(data):
                payloads.read(item.update, timezone.now())
        except payloads.MalformedUpdate:
            pass

    with tempfile.TemporaryDirectory() as corpus:
        seconds = sys.argv[1] if len(sys.argv) > 1 else str(_SECONDS)
        options = [f"-max_total_time={seconds}", "-max_len=4096", "-timeout=10", corpus, str(_SEEDS)]
        atheris.Setup([sys.argv[0], *options], one)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
