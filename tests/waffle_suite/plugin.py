"""Pytest plugin: prepares the run of waffle's own tests against our flag model, see ``test_waffles_suite.py``."""

import pytest
import pytest_django

from tests.database_reset import replace_flush, save_rows
from tests.waffle_suite.differences import DIFFERENCES


def pytest_collection() -> None:
    """Adapt what the tests import and read to a project with its own flag model and admin pages."""
    # Pytest imports plugins before Django is set up.
    import waffle.models  # noqa: PLC0415
    from django.conf import settings  # noqa: PLC0415
    from django.contrib import admin  # noqa: PLC0415

    admin.autodiscover()
    waffle.models.Flag = waffle.get_waffle_flag_model()
    # Only two tests read this; if it were on before, waffle's pages would conflict with ours.
    settings.WAFFLE_ENABLE_ADMIN_PAGES = True


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if reason := DIFFERENCES.get(item.nodeid.rpartition("waffle/tests/")[2]):
            item.add_marker(pytest.mark.xfail(reason=reason, strict=True))


@pytest.fixture(autouse=True)
def _with_relations() -> None:
    """Have Django find the relations of the user model, which it does not while a test replaces that model."""
    from django.apps import apps  # noqa: PLC0415
    from django.contrib.auth.models import User  # noqa: PLC0415

    apps.clear_cache()
    assert User._meta.related_objects


@pytest.fixture(scope="session", autouse=True)
def _without_flags(django_db_setup: None, django_db_blocker: pytest_django.DjangoDbBlocker) -> None:
    """Remove the flags and switches that our migrations create, and the permissions of waffle's own flag model."""
    from django.contrib.auth.models import Permission  # noqa: PLC0415
    from django.db import connection  # noqa: PLC0415

    with django_db_blocker.unblock():
        Permission.objects.filter(content_type__app_label="waffle", content_type__model="flag").delete()
        with connection.cursor() as cursor:
            cursor.execute("TRUNCATE rollout_flag, waffle_switch CASCADE")
        save_rows()
    replace_flush()
