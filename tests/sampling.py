"""Pytest plugin: a run of the whole suite takes three cases of each parametrized test that uses the database.

The first, the middle and the last one; the others are marked ``integration``. A run with a path or ``-k`` takes all.
"""

from collections import defaultdict

import pytest

CASES = 3


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.args_source != pytest.Config.ArgsSource.TESTPATHS or config.option.keyword:
        return
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
