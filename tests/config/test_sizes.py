"""Files and packages have at most the size that CONTRIBUTING.md allows."""

from __future__ import annotations

import subprocess
from collections import defaultdict
from pathlib import Path

from django.conf import settings

LINES_OF_A_FILE = 500
LINES_OF_A_PACKAGE, FILES_OF_A_PACKAGE = 2_000, 25


def lines_by_path() -> dict[Path, int]:
    """Return the number of lines of each tracked module but migrations, by its path from the root."""
    listed = subprocess.run(
        ["git", "ls-files", "*.py"],  # noqa: S607
        cwd=settings.BASE_DIR, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    paths = [Path(name) for name in listed.splitlines()]
    modules = [path for path in paths if "migrations" not in path.parts and (settings.BASE_DIR / path).is_file()]
    return {path: (settings.BASE_DIR / path).read_bytes().count(b"\n") for path in modules}


def test_no_file_is_too_long() -> None:
    assert {path.as_posix(): lines for path, lines in lines_by_path().items() if lines > LINES_OF_A_FILE} == {}


def test_no_package_is_too_large() -> None:
    packages = defaultdict[str, list[int]](list)
    for path, lines in lines_by_path().items():
        if path.parts[0] != "tests":
            packages[path.parent.as_posix()].append(lines)
    assert len(packages) > 20, "the packages were not found"
    too_large = {
        name: (sum(lines), len(lines))
        for name, lines in packages.items()
        if sum(lines) > LINES_OF_A_PACKAGE or len(lines) > FILES_OF_A_PACKAGE
    }
    assert too_large == {}
