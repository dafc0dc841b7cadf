"""Base classes of the admin's pages: who may see and change which rows."""

from collections.abc import Callable
from datetime import datetime
from functools import cache
from typing import Any, ClassVar

from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.auth.models import Permission
from django.core.exceptions import FieldError, ValidationError
from django.db.models import DateTimeField, FloatField, Model, QuerySet
from django.db.models.sql import Query
from django.forms.utils import to_current_timezone
from django.http import HttpRequest, HttpResponse
from django.utils.formats import number_format
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.text import capfirst
from django.utils.translation import get_language
from django.utils.translation import gettext_lazy as _
from unfold import admin as unfold
from unfold import fields, utils
from unfold.contrib.filters.admin import AutocompleteSelectFilter
from unfold.templatetags import unfold_list

from config.lib import autocomplete, times
from config.lib.admin.stale_forms import MergingForm
from config.lib.scope import requires_global_scope, scope_of
from config.postgres.base import without_standby

# The lookups that take one value of a field's own type, or a list of such values. Others, such as regular expressions,
# ranges and JSON paths, raise errors for some values, or let PostgreSQL search for minutes.
_LOOKUPS = frozenset({
    "exact", "iexact", "in", "isnull", "gt", "gte", "lt", "lte",
    "contains", "icontains", "startswith", "istartswith", "endswith", "iendswith",
})  # fmt: skip


def _shown_field(value: Any, field: Any, empty: str) -> Any:
    if isinstance(field, FloatField) and isinstance(value, float):
        return _rounded(value)
    is_moment = isinstance(field, DateTimeField) and isinstance(value, datetime)
    return _moment(value) if is_moment else utils.display_for_field(value, field, empty)


def _shown_value(value: Any, empty: str, boolean: bool = False) -> Any:
    return _moment(value) if isinstance(value, datetime) else utils.display_for_value(value, empty, boolean)


def _moment(at: datetime) -> SafeString:
    # Otherwise, a wide table would break the time into four lines.
    return format_html('<span class="whitespace-nowrap">{}</span>', times.element(at))


def _rounded(value: float) -> str:
    """Return a number with at most two decimals, or “< 0.01” if it would be rounded to 0."""
    if 0 < abs(value) < 0.01:
        return f"{'<' if value > 0 else '>'} {number_format(0.01 if value > 0 else -0.01)}"
    return number_format(round(value, 2))


# Lists and read-only fields show datetimes as other pages do, and rounded numbers; the theme has no setting for that.
vars(unfold_list)["display_for_field"] = vars(fields)["display_for_field"] = _shown_field
vars(unfold_list)["display_for_value"] = _shown_value


def _with_filters(context: dict[str, Any], url: str) -> str:
    """Return the address of a row's page with the filters of the list, so that the page can lead back to the list.

    Django's own function would also resolve each address to its view. This would cause a seventh of all function calls
    for a list page.
    """
    filters = context["preserved_filters"]
    return f"{url}?{filters}" if filters else url


vars(unfold_list)["add_preserved_filters"] = _with_filters


@cache
def _checkbox(language: str) -> tuple[SafeString, SafeString]:
    """Return the HTML of a row's checkbox in two parts, between which the row's value belongs.

    The result is cached by ``language``, which must be the active language, because the HTML has a translated label.
    """
    before, _value, after = unfold.checkbox.render(ACTION_CHECKBOX_NAME, "the value").partition("the value")
    return SafeString(before), SafeString(after)


class ModelAdmin(unfold.ModelAdmin):
    """The base class of all model pages.

    The query string of a list can contain only those lookups that raise no error for any value.
    """

    list_per_page = 50
    # The theme's template reads this twice for each row; without it, each read takes a tenth of a millisecond.
    list_sections: ClassVar[tuple[()]] = ()

    @admin.display(description=unfold.ModelAdmin.action_checkbox.short_description)
    def action_checkbox(self, obj: Model) -> str:
        """Return the checkbox of a row as the theme shows it, but without rendering a template for each row."""
        before, after = _checkbox(get_language() or "")
        return format_html("{}{}{}", before, obj.pk, after)

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest) -> bool:
        try:
            lookups, _field, _parts = Query(self.model).solve_lookup_type(lookup)
        except FieldError:
            lookups = ()
        return _LOOKUPS.issuperset(lookups) and bool(super().lookup_allowed(lookup, value, request))

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """Show the list under its own name, such as “Alerts”; Django's title would be “Select alert to view”."""
        title = {"title": capfirst(self.opts.verbose_name_plural)}
        response: HttpResponse = super().changelist_view(request, title | (extra_context or {}))
        return response

    def log_deletions(self, request: HttpRequest, queryset: Any) -> Any:
        """Write the log entries without waiting for a standby to confirm them.

        Django logs a deletion before it deletes. If the wait for the standby failed here, nothing would be deleted. The
        commit of the deletion waits for the standby, and then the log entries are confirmed too.
        """
        with without_standby():
            return super().log_deletions(request, queryset)

    def formfield_for_dbfield(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        """Add the site's time zone to the help text of date and time fields."""
        field = super().formfield_for_dbfield(db_field, request, **kwargs)
        if field is not None and isinstance(db_field, DateTimeField):
            field.help_text = f"{field.help_text} {_('Time zone: %s') % times.zone()}".strip()
        return field

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        """Convert the datetimes in the query string to initial values of the form's inputs; leave out invalid ones."""
        initial: dict[str, Any] = super().get_changeform_initial_data(request)
        for field in self.opts.fields:
            if isinstance(field, DateTimeField) and field.name in initial:
                try:
                    initial[field.name] = to_current_timezone(field.to_python(initial[field.name]))
                except (ValidationError, OverflowError):
                    del initial[field.name]
        return initial

    def formfield_for_foreignkey(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        if db_field.name in self.get_autocomplete_fields(request):
            kwargs.setdefault("widget", autocomplete.Select(db_field, self.admin_site, using=kwargs.get("using")))
        return super().formfield_for_foreignkey(db_field, request, **kwargs)

    def formfield_for_manytomany(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        if db_field.name in self.get_autocomplete_fields(request):
            widget = autocomplete.SelectMultiple(db_field, self.admin_site, using=kwargs.get("using"))
            kwargs.setdefault("widget", widget)
        return super().formfield_for_manytomany(db_field, request, **kwargs)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Require the permission to view as well, because the page that asks for confirmation shows the row."""
        return bool(super().has_delete_permission(request, obj) and self.has_view_permission(request, obj))

    def response_add(self, request: HttpRequest, obj: Any, post_url_continue: str | None = None) -> HttpResponse:
        """Omit the new row's name from the message if the user may not view the row.

        The name may have been found by the system rather than entered by the user. The responses of Unfold and Django
        contain the name, and so do their responses to a popup in which a related row was added.
        """
        if self.has_view_permission(request, obj):
            return super().response_add(request, obj, post_url_continue)  # type: ignore[no-any-return]
        self.message_user(request, _("Added."), messages.SUCCESS)
        return self.response_post_save_add(request, obj)  # type: ignore[no-any-return]


class MergingAdmin(ModelAdmin):
    """Save only the fields that the user changed; refuse the form if someone else has changed one of them meanwhile."""

    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any) -> Any:
        form = super().get_form(request, obj, change=change, **kwargs)
        return type(form.__name__, (MergingForm, form), {})


class ScopedAdmin(ModelAdmin):
    """Show users who are limited to one university only the rows of that university.

    Their choices of related rows are limited to the rows that they can see on the related table's own page.
    ``university_path`` is the lookup from a row to its university.
    """

    university_path: ClassVar[str]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        rows: QuerySet[Any] = super().get_queryset(request)
        scope = scope_of(request)
        return rows if scope.sees_all else rows.filter(**{f"{self.university_path}__in": scope.universities()})

    def get_field_queryset(self, db: str | None, db_field: Any, request: HttpRequest) -> QuerySet[Any] | None:
        """Return the rows that a form field offers; None means Django's default, all rows of the related table.

        Users who are limited to one university are offered the rows that they can see on the related table's own page.
        """
        if scope_of(request).sees_all:
            return super().get_field_queryset(db, db_field, request)  # type: ignore[no-any-return]
        return visible_rows(self, db_field.remote_field.model, request)


def visible_rows(page: ModelAdmin, model: type[Model], request: HttpRequest) -> QuerySet[Any]:
    """Return the rows of a model that the user can see on its own page; none if the model is not in the admin."""
    related = page.admin_site._registry.get(model)  # noqa: SLF001 (get_model_admin() raises instead)
    return related.get_queryset(request) if related else model._default_manager.none()  # noqa: SLF001


def column(label: Any, value: Callable[[Any], Any], ordering: str | None = None) -> Callable[[Any, Any], Any]:
    """Return a column or a read-only field for a ModelAdmin; it shows what ``value`` returns for a row."""

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


class VisibleRowsFilter(AutocompleteSelectFilter):
    """Filter by a row of a related table; a row that the user cannot see on that table's page counts as nonexistent."""

    def choices(self, changelist: Any) -> Any:
        for context in super().choices(changelist):
            rows = visible_rows(self.model_admin, self.field.remote_field.model, self.request)
            context["form"].fields[self.lookup_kwarg].queryset = rows
            yield context


class GlobalScopeAdmin(ModelAdmin):
    """Limit the pages to users who see all universities, because the models' rows belong to no university."""

    def get_urls(self) -> list[Any]:
        urls: list[Any] = super().get_urls()
        for url in urls:
            url.callback = requires_global_scope(url.callback)
        return urls

    def has_module_permission(self, request: HttpRequest) -> bool:
        return scope_of(request).sees_all and bool(super().has_module_permission(request))

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """Return no rows to users who are limited to one university, because the rows belong to no university.

        These users cannot open the pages, but autocompletion has a URL of its own and uses this queryset.
        """
        rows: QuerySet[Any] = super().get_queryset(request)
        return rows if scope_of(request).sees_all else rows.none()


class SharedRowsAdmin(ModelAdmin):
    """Let only users who see all universities add, change and delete the rows, which apply to all universities."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return scope_of(request).sees_all and bool(super().has_add_permission(request))

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return scope_of(request).sees_all and bool(super().has_change_permission(request, obj))

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return scope_of(request).sees_all and bool(super().has_delete_permission(request, obj))


class RenamedModelAdmin(ModelAdmin):
    """Check the permissions of the model's former name, ``permission_name``, because groups hold those permissions."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return self._has_permission(request, "add")

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self._has_permission(request, "change")

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self._has_permission(request, "delete") and self.has_view_permission(request, obj)

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self._has_permission(request, "view") or self._has_permission(request, "change")

    def _has_permission(self, request: HttpRequest, action: str) -> bool:
        return request.user.has_perm(f"{self.opts.app_label}.{action}_{self.model.permission_name}")


_VERBS = {"add": _("Can add %s"), "change": _("Can change %s"), "delete": _("Can delete %s"), "view": _("Can view %s")}


def permission_label(permission: Permission) -> str:
    """Return “app: what the permission allows” in the reader's language; Django's own label is English."""
    model: Any = permission.content_type.model_class()
    if model is None:
        return permission.name
    opts = model._meta  # noqa: SLF001 (documented by Django)
    verb, _sep, rest = permission.codename.partition("_")
    if verb in _VERBS and rest == getattr(model, "permission_name", opts.model_name):
        label = str(_VERBS[verb]) % opts.verbose_name_plural
    else:
        label = dict(opts.permissions).get(permission.codename, permission.name)
    return f"{opts.app_config.verbose_name}: {label}"
