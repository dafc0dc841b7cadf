from collections.abc import Iterator

import pytest

from tests.chaos.system import System


@pytest.fixture(scope="session")
def system() -> Iterator[System]:
    """A whole system of this package's own; what a test kills, its supervisor has started again."""
    # Development mode starts three seconds sooner; the secret is asked for all the same.
    system = System(DEBUG="true")
    try:
        system.start()
        yield system
    finally:
        left = system.stop()
    assert left == []
    assert not system.folder.exists()
