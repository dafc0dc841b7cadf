"""Pytest plugin: prepares the run of waffle's own tests against our flag model, see ``test_waffles_suite.py``."""

from collections.abc import Iterator

import pytest
import pytest_django

# Imports of Django are in the functions: pytest imports plugins before pytest-django sets it up.


def pytest_collection() -> None:
    """Adapt what the tests import and read to a project with its own flag model and admin pages."""
    import waffle.models  # noqa: PLC0415
    from django.conf import settings  # noqa: PLC0415
    from django.contrib import admin  # noqa: PLC0415

    admin.autodiscover()
    vars(waffle.models)["Flag"] = waffle.get_waffle_flag_model()
    # Only two tests read this; if it were on before, waffle's pages would conflict with ours.
    settings.WAFFLE_ENABLE_ADMIN_PAGES = True


@pytest.fixture(scope="session", autouse=True)
def _without_flags(django_db_setup: None, django_db_blocker: pytest_django.DjangoDbBlocker) -> Iterator[None]:
    """Remove the flags and switches that our migrations create, and the permissions of waffle's own flag model."""
    from django.contrib.auth.models import Permission  # noqa: PLC0415
    from django.db import connection  # noqa: PLC0415

    from tests.database_reset import replaced_flush, save_rows  # noqa: PLC0415

    with django_db_blocker.unblock():
        Permission.objects.filter(content_type__app_label="waffle", content_type__model="flag").delete()
        with connection.cursor() as cursor:
            cursor.execute("TRUNCATE rollout_flag, waffle_switch CASCADE")
        save_rows()
    with replaced_flush():
        yield
