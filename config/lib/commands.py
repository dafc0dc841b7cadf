from typing import Any, TextIO

from django.core.management import base

from config.lib.text import for_terminal


class TerminalOutput:
    """Write text to a stream without the control characters that a terminal would interpret.

    If the stream is a terminal, colour codes are kept.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        return self._stream.write(for_terminal(text, has_colours=self.isatty()))

    def isatty(self) -> bool:
        return hasattr(self._stream, "isatty") and self._stream.isatty()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class BaseCommand(base.BaseCommand):
    """Django's base class for commands; control characters are removed from its arguments and its output."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for output in (self.stdout, self.stderr):
            vars(output)["_out"] = TerminalOutput(vars(output)["_out"])

    def execute(self, *args: Any, **options: Any) -> str | None:
        for name in ("stdout", "stderr"):
            if options.get(name):
                options[name] = TerminalOutput(options[name])
        return super().execute(*map(_cleaned, args), **{name: _cleaned(value) for name, value in options.items()})


def _cleaned(value: Any) -> Any:
    if isinstance(value, str):
        return for_terminal(value)
    return list(map(_cleaned, value)) if isinstance(value, list) else value
