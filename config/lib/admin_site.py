"""The admin site; it computes the list of tables only for pages that show it."""

from collections.abc import Callable
from functools import partial
from typing import Any

from django.contrib.admin.apps import SimpleAdminConfig
from django.http import HttpRequest
from django.utils.functional import SimpleLazyObject
from unfold.sites import UnfoldAdminSite

from config.lib import autocomplete


class AdminConfig(SimpleAdminConfig):
    default_site = "config.lib.admin_site.AdminSite"


class AdminSite(UnfoldAdminSite):
    def get_app_list(self, request: HttpRequest, app_label: str | None = None) -> Any:
        """Return a lazy list of the tables that the user may see.

        Most pages never evaluate it: they show the sidebar of config/navigation.py.
        """
        return SimpleLazyObject(partial(super().get_app_list, request, app_label))

    def autocomplete_view(self, request: HttpRequest) -> Any:
        return autocomplete.JsonView.as_view(admin_site=self)(request)

    def _call_permission_callback(self, callback: Callable[[HttpRequest], bool] | None, request: HttpRequest) -> bool:
        # The theme's own makes a class for each entry of the sidebar.
        return callback is None or callback(request)
