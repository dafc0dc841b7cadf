"""Pytest plugin: a run of the whole suite leaves out tests that are marked ``long``, and most cases of the others.

Of each parametrized test that uses the database, it takes the first, the middle and the last case, and marks the others
``integration``. A run with a path or ``-k`` takes all of both; one with ``-m`` takes the long tests that it selects.
"""

from collections import defaultdict

import pytest

CASES = 3
DEFAULT = "not integration"


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.args_source != pytest.Config.ArgsSource.TESTPATHS or config.option.keyword:
        return
    if config.option.markexpr == DEFAULT:
        config.hook.pytest_deselected(items=[item for item in items if item.get_closest_marker("long")])
        items[:] = [item for item in items if not item.get_closest_marker("long")]
    cases = defaultdict(list)
    for item in items:
        uses_database = item.get_closest_marker("django_db") or "db" in getattr(item, "fixturenames", ())
        if uses_database and not item.get_closest_marker("integration"):
            cases[item.nodeid.partition("[")[0]].append(item)
    for of_one_test in cases.values():
        taken = {number * (len(of_one_test) - 1) // (CASES - 1) for number in range(CASES)}
        for number, item in enumerate(of_one_test):
            if number not in taken:
                item.add_marker(pytest.mark.integration)
