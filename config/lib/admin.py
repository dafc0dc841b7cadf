from typing import Any

from django.core.exceptions import FieldError
from django.db.models.sql import Query
from django.http import HttpRequest
from unfold import admin

from config.lib.scope import requires_global_scope

# The lookups that take one value of a field's own type, or a list of such values. Others, such as regular expressions,
# ranges and JSON paths, raise errors for some values, or let PostgreSQL search for minutes.
_LOOKUPS = frozenset({
    "exact", "iexact", "in", "isnull", "gt", "gte", "lt", "lte",
    "contains", "icontains", "startswith", "istartswith", "endswith", "iendswith",
})  # fmt: skip


class ModelAdmin(admin.ModelAdmin):
    """The base of all model pages; a list can be filtered only by lookups that are safe for any value."""

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest) -> bool:
        try:
            lookups, _, _ = Query(self.model).solve_lookup_type(lookup)
        except FieldError:
            lookups = ()
        return _LOOKUPS.issuperset(lookups) and bool(super().lookup_allowed(lookup, value, request))


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
