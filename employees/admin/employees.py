from __future__ import annotations

from functools import cached_property
from typing import Any

from django.contrib import admin, messages
from django.db import transaction
from django.db.models import F, QuerySet
from django.http import HttpRequest
from django.shortcuts import redirect
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext
from import_export.admin import ImportExportModelAdmin
from unfold.contrib.filters.admin import AutocompleteSelectFilter
from unfold.contrib.import_export.forms import ExportForm
from unfold.decorators import display

from config.lib import audit_log
from config.lib.messages import Message
from config.lib.pagination import BoundedPaginator
from employees.accounts import user_scope
from employees.admin.access import EXPORT, admin_scope
from employees.admin.forms import EmployeeForm
from employees.admin.versions import VersionedAdmin
from employees.history.models import backfilled
from employees.import_export.formats import FORMATS, ConfirmForm, FileForm, Previews
from employees.import_export.resources import COLUMNS, EmployeeResource, problems, shorten
from employees.import_export.spreadsheets import Unreadable
from employees.models import Employee
from employees.models.directory import FEW
from employees.naming import create_employee, refresh, update_employee
from profiles.lookup import resolve
from profiles.models import ProfileSource

# More are the backfill's work, which can be paused and taken back.
MOST_REFRESHED = 1000
MOST_PROBLEMS_SHOWN = 10
MOST_PREVIEWED = 100
SOURCE_COLOURS = {
    ProfileSource.WEBHOOK: "success",
    ProfileSource.USER_INPUT: "info",
    ProfileSource.API: "warning",
    ProfileSource.MANUAL: "default",
    ProfileSource.DEFAULT: "danger",
}


class EmployeePaginator(BoundedPaginator):
    @cached_property
    def count(self) -> int:
        rows: Any = self.object_list
        return int(rows.count_or_estimate(is_search=rows.query.has_filters()))


@admin.register(Employee)
class EmployeeAdmin(VersionedAdmin, ImportExportModelAdmin):
    form = EmployeeForm
    resource_classes = [EmployeeResource]
    formats = FORMATS
    import_form_class = FileForm
    tmp_storage_class = Previews
    confirm_form_class = ConfirmForm
    export_form_class = ExportForm
    paginator = EmployeePaginator
    # Half of Django's hundred: the theme draws each badge by a template.
    list_per_page = 50
    list_display = ("last_name", "first_name", "phone", "max_id", "shown_source", "university")
    # By what has an index: a heading that sorts a million rows keeps its reader waiting.
    sortable_by = ("last_name", "phone")
    list_filter = ("profile_source", "role", ("university", AutocompleteSelectFilter))
    list_filter_submit = True
    list_select_related = ("university",)
    search_fields = ("last_name", "first_name", "phone")
    search_help_text = _("words of a name in any case, or a phone")
    autocomplete_fields = ("university",)
    show_full_result_count = False
    actions = ("refresh_from_cache",)
    object_history_template = "employees/history.html"
    compressed_fields = True

    def get_queryset(self, request: HttpRequest) -> QuerySet[Employee]:
        scope = admin_scope(request)
        return super().get_queryset(request) if scope is None else scope.employees().select_related("university")

    def get_readonly_fields(self, request: HttpRequest, obj: Employee | None = None) -> Any:
        return (
            ("profile_source", "profile_last_updated", "max_id_updated_at", "created_at", "updated_at") if obj else ()
        )

    def get_fields(self, request: HttpRequest, obj: Employee | None = None) -> Any:
        return [*EmployeeForm.Meta.fields, *self.get_readonly_fields(request, obj)]

    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any) -> Any:
        """Return a form class a request: the form asks whose roles may be given."""
        form = super().get_form(request, obj, change, **kwargs)
        return type(form.__name__, (form,), {"scope": user_scope(request.user)})

    def formfield_for_dbfield(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        if db_field.name == "phone":
            # A browser cuts what is pasted at maxlength, and a spelling that lost its end is another number.
            kwargs["max_length"] = None
        return super().formfield_for_dbfield(db_field, request, **kwargs)

    def formfield_for_foreignkey(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        scope = admin_scope(request)
        if db_field.name == "university" and scope is not None:
            kwargs["queryset"] = scope.universities()
        return super().formfield_for_foreignkey(db_field, request, **kwargs)

    def get_search_results(
        self, request: HttpRequest, queryset: Any, search_term: str
    ) -> tuple[QuerySet[Employee], bool]:
        if not search_term:
            return queryset, False
        found = queryset.matching(search_term)
        # PostgreSQL would rather walk the whole table by id than gather and sort a few matches.
        if "o" not in request.GET and found.count_or_estimate(is_search=True) <= FEW:
            found = found.order_by(F("pk") + 0)
        return found, False

    @display(description=_("profile source"), ordering="profile_source", label=SOURCE_COLOURS)
    def shown_source(self, employee: Employee) -> tuple[str, str]:
        return employee.profile_source, employee.get_profile_source_display()

    # Changes

    @transaction.atomic
    def save_model(self, request: HttpRequest, obj: Employee, form: Any, change: bool) -> None:
        """Name and rename by the rules of the API: a new one is looked up, a name by hand is manual."""
        values = {name: form.cleaned_data[name] for name in EmployeeForm.Meta.fields}
        if change:
            stored = Employee.objects.select_for_update(of=("self",)).get(pk=obj.pk)
            update_employee(stored, form.given, may_clear=True)
        else:
            names = {name: values.pop(name) or "" for name in ("first_name", "last_name")}
            university_id = values["university"].pk
            name = resolve(phone=values["phone"], max_id=values.pop("max_id"), university_id=university_id, **names)
            obj.pk = create_employee(name, **values).pk
        obj.refresh_from_db()

    @admin.action(description=_("Refresh names from the cache"), permissions=["change"])
    def refresh_from_cache(self, request: HttpRequest, queryset: QuerySet[Employee]) -> None:
        ids = list(queryset.order_by().values_list("pk", flat=True)[: MOST_REFRESHED + 1])
        if len(ids) > MOST_REFRESHED:
            text = _("More than %d at once are the work of a backfill: start one.") % MOST_REFRESHED
            self.message_user(request, text, messages.ERROR)
            return
        changed = sum(map(refresh, ids))
        words = {"changed": changed, "count": len(ids)}
        message = Message("Names refreshed from the cache: %(changed)d of %(count)d", words)
        audit_log.record(request, message, Employee)
        text = ngettext("%(n)d name was refreshed", "%(n)d names were refreshed", changed) % {"n": changed}
        kept = ngettext("%(n)d stays as it is", "%(n)d stay as they are", len(ids) - changed) % {
            "n": len(ids) - changed
        }
        self.message_user(request, f"{text}, {kept}.", messages.SUCCESS)

    # History

    def render_history_view(self, request: HttpRequest, template: str, context: dict[str, Any], **kwargs: Any) -> Any:
        extra = {"backfilled": backfilled(context["object"].pk)}
        return super().render_history_view(request, template, context | extra, **kwargs)

    # Files

    def has_import_permission(self, request: HttpRequest) -> bool:
        may = self.has_add_permission(request) and self.has_change_permission(request)
        return admin_scope(request) is None and may

    def has_export_permission(self, request: HttpRequest) -> bool:
        return bool(request.user.has_perm(EXPORT) and self.has_view_permission(request))

    def import_action(self, request: HttpRequest, **kwargs: Any) -> Any:
        """Name the columns that are read: the library names those that are only written, and none after a refusal."""
        page = super().import_action(request, **kwargs)
        page.context_data["fields_list"] = [("", COLUMNS)]
        if result := page.context_data.get("result"):
            self._tell_of(request, result, page.context_data)
        return page

    def _tell_of(self, request: HttpRequest, result: Any, context: dict[str, Any]) -> None:
        """Say what the preview does not show; where it would show nothing, offer nothing to confirm."""
        if left := shorten(result, MOST_PREVIEWED):
            text = _("The first %(shown)d rows are shown; there are %(left)d more.")
            self.message_user(request, text % {"shown": MOST_PREVIEWED, "left": left}, messages.INFO)
        elif context.get("confirm_form") and not result.valid_rows():
            self.get_tmp_storage_class()(name=context["confirm_form"].initial["import_file_name"]).remove()
            context["confirm_form"] = context["result"] = None
            self.message_user(request, _("Nothing would change: the directory has all of this file."), messages.INFO)

    def add_data_read_fail_error_to_form(self, form: Any, e: Exception) -> None:
        words = str(e) if isinstance(e, Unreadable) else _("the file cannot be read in the chosen format")
        form.add_error("import_file", words)

    def process_import(self, request: HttpRequest, **kwargs: Any) -> Any:
        try:
            return super().process_import(request, **kwargs)
        except Unreadable as unreadable:
            self.message_user(request, str(unreadable), messages.ERROR)
            return redirect("admin:employees_employee_import")
        except (FileNotFoundError, IsADirectoryError):
            # It is kept until it is imported: a second press of the button finds none.
            self.message_user(request, _("This file was imported already."), messages.WARNING)
            return redirect("admin:employees_employee_changelist")

    def get_import_resource_kwargs(self, request: HttpRequest, **kwargs: Any) -> dict[str, Any]:
        return {**super().get_import_resource_kwargs(request, **kwargs), "scope": user_scope(request.user)}

    def get_import_data_kwargs(self, **kwargs: Any) -> dict[str, Any]:
        return {**super().get_import_data_kwargs(**kwargs), "rollback_on_validation_errors": True}

    def process_result(self, result: Any, request: HttpRequest) -> Any:
        """Say which rows failed since the preview, where the directory has changed meanwhile: nothing is imported."""
        found = problems(result)
        if not found:
            return super().process_result(result, request)
        text = _("Nothing was imported: the directory has changed since the preview. Rows with errors: %d.")
        for told in (text % len(found), *found[:MOST_PROBLEMS_SHOWN]):
            self.message_user(request, told, messages.ERROR)
        return redirect("admin:employees_employee_import")

    def generate_log_entries(self, result: Any, request: HttpRequest) -> None:
        """Record the file as a whole: each row has a version of its own."""
        numbers = {"new": result.totals["new"], "updated": result.totals["update"]}
        audit_log.record(request, Message("Import: %(new)d new, %(updated)d updated", numbers), Employee)

    def get_export_data(self, file_format: Any, request: HttpRequest, queryset: Any, **kwargs: Any) -> Any:
        data = super().get_export_data(file_format, request, queryset, **kwargs)
        audit_log.record(request, Message("Export of %(count)d employees", {"count": queryset.count()}), Employee)
        return data
