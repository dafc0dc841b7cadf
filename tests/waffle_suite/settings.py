"""Settings for waffle's own test suite: ours, and those in waffle's ``test_settings.py`` that its tests depend on."""

from typing import Any

from config.settings import *  # noqa: F403
from config.settings import DATABASES, INSTALLED_APPS

INSTALLED_APPS += ["test_app"]
ROOT_URLCONF = "test_app.urls"
MIDDLEWARE = [
    "django.middleware.common.CommonMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "waffle.middleware.WaffleMiddleware",
]
JINJA_INSTALLED = False
# The tests count the queries that a cache saves, and clear the default cache between tests.
CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}
WAFFLE_CACHE_NAME = "default"
WAFFLE_CACHE_PREFIX = "test:"
DATABASES["readonly"] = {"ENGINE": "django.db.backends.sqlite3", "TEST": {"MIGRATE": False}}
DATABASE_ROUTERS = ["tests.waffle_suite.settings.ReadOnlyTables"]


class ReadOnlyTables:
    """Create only the tables of flags and users in the ``readonly`` database, which stays empty."""

    def allow_migrate(self, db: str, app_label: str, **hints: Any) -> bool:
        return db == "default" or app_label in ("waffle", "rollout", "auth", "contenttypes")
