from collections.abc import Callable
from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from unfold.admin import ModelAdmin

from config.lib.scope import requires_global_scope


def column(label: Any, value: Callable[[Any], Any], ordering: str | None = None) -> Callable[[Any, Any], Any]:
    """Return a column or a read-only field of a ModelAdmin, which shows ``value`` of a row."""

    def shown(model_admin: Any, row: Any) -> Any:
        return value(row)

    return admin.display(shown, description=label, ordering=ordering)


class ReadOnlyAdmin(ModelAdmin):
    """Show rows that only the system writes: users cannot add, change or delete them."""

    show_full_result_count = False

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class GlobalScopeAdmin(ModelAdmin):
    """Limit the pages to users who see all universities, because these rows are not linked to a university."""

    def get_urls(self) -> list[Any]:
        urls: list[Any] = super().get_urls()
        for url in urls:
            url.callback = requires_global_scope(url.callback)
        return urls


class RenamedModelAdmin(ModelAdmin):
    """Check the permissions of the model's former name, its ``permission_name``, which groups have been granted."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return self._has_permission(request, "add")

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self._has_permission(request, "change")

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self._has_permission(request, "delete")

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self._has_permission(request, "view") or self._has_permission(request, "change")

    def _has_permission(self, request: HttpRequest, action: str) -> bool:
        return request.user.has_perm(f"{self.opts.app_label}.{action}_{self.model.permission_name}")
