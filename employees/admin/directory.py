import re
from datetime import datetime
from functools import cached_property
from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.db.models import Exists, OuterRef, QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import path
from django.utils.http import content_disposition_header
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext
from import_export.admin import ImportExportModelAdmin
from simple_history.admin import SimpleHistoryAdmin
from simple_history.template_utils import HistoricalRecordContextHelper
from unfold.contrib.import_export.forms import ExportForm
from unfold.decorators import display

from config.lib import audit_log, times
from config.lib.admin import (
    GlobalScopeAdmin,
    MergingAdmin,
    ReadOnlyAdmin,
    ScopedAdmin,
    SharedRowsAdmin,
    VisibleRowsFilter,
)
from config.lib.audit_log import AuditedAdmin
from config.lib.http.pagination import BoundedPaginator
from config.lib.messages import Message
from config.postgres.locks import confirmed_together
from employees import max_id_claims
from employees.accounts import admin_scope, user_scope
from employees.admin.forms import EmployeeForm, UniversityForm
from employees.backfill import batches
from employees.history.models import backfilled_names
from employees.import_export.formats import EXPORTED, AnyFormat, ConfirmForm, FileForm
from employees.import_export.headings import COLUMNS, heading_of, template
from employees.import_export.resources import EmployeeResource, truncate_preview
from employees.import_export.stored_files import PreviewStorage
from employees.import_export.tables import UnreadableFile
from employees.models import Employee, JobStatus, MaxIdJob, Membership, University, UnresolvedName
from employees.naming import create_employee, refresh, update_employee
from profiles.lookup import resolve
from profiles.models import ProfileSource
from profiles.name_rule import NameChoice
from profiles.rollout.rules import ChangeRefused

EXPORT = "monitoring.export_employees"
# Larger selections need a backfill, which can be paused and undone.
MAX_REFRESHED = 1000
MAX_ERRORS_SHOWN = 10
MAX_PREVIEWED = 100
MAX_DELETED = 500
# The key under which a session stores the names of the files that its user has uploaded last.
_UPLOADED, _MOST_UPLOADED = "uploaded_imports", 5
_TEMPLATES = {
    "csv": "text/csv; charset=utf-8",
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
}
_ID = re.compile(r"[0-9]{1,18}")
SOURCE_COLOURS = {
    ProfileSource.WEBHOOK: "success",
    ProfileSource.USER_INPUT: "info",
    ProfileSource.API: "warning",
    ProfileSource.MANUAL: "default",
    ProfileSource.DEFAULT: "danger",
}
JOB_COLOURS = {
    JobStatus.PENDING: "default",
    JobStatus.RUNNING: "info",
    JobStatus.DONE: "success",
    JobStatus.FAILED: "danger",
}


class DisplayContextHelper(HistoricalRecordContextHelper):
    """Show values in the history of changes: choices by their labels, datetimes in local time, None as a dash."""

    def prepare_delta_change_value(self, change: Any, value: Any) -> Any:
        choices = dict(self.model._meta.get_field(change.field).flatchoices)  # noqa: SLF001 (documented by Django)
        if isinstance(value, datetime):
            return times.text(value)
        return choices.get(value, "—" if value is None else value)


class VersionedAdmin(SimpleHistoryAdmin, MergingAdmin, ScopedAdmin):
    object_history_list_template = "employees/versions.html"

    def history_view(self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None) -> Any:
        """Respond with 404 for rows outside the user's scope: the library checks only the permission on the model."""
        is_hidden = admin_scope(request) is not None and self.get_object(request, object_id) is None
        if is_hidden or not _ID.fullmatch(object_id):
            raise Http404
        return super().history_view(request, object_id, extra_context)

    def get_history_queryset(self, request: HttpRequest, *args: Any, **kwargs: Any) -> QuerySet[Any]:
        """Return the versions of the row; to a user who is limited to a university, only those of that university.

        Other versions exist if the employee has moved from one university to another.
        """
        versions: QuerySet[Any] = super().get_history_queryset(request, *args, **kwargs)
        limits = admin_scope(request)
        if limits is None or not hasattr(versions.model, "university_id"):
            return versions
        return versions.filter(university_id__in=limits.university_ids())

    def history_form_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        """Respond with 404: the library's page would let all users who may view the model restore an old version."""
        raise Http404

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        """Refuse to delete more than MAX_DELETED rows at once, because the confirmation page lists every row."""
        if len(objs[: MAX_DELETED + 1]) <= MAX_DELETED:
            return super().get_deleted_objects(objs, request)
        text = _("At most %d can be deleted at once. Narrow the selection with a filter or a search.")
        return [], {}, set(), [text % MAX_DELETED]

    def get_historical_record_context_helper(self, request: HttpRequest, historical_record: Any) -> Any:
        return DisplayContextHelper(self.model, historical_record)


class EmployeePaginator(BoundedPaginator):
    @cached_property
    def count(self) -> int:
        rows: Any = self.object_list
        return int(rows.count_or_estimate(is_search=rows.query.has_filters()))


def _look_up_name(request: HttpRequest, form: Any) -> NameChoice:
    values = form.cleaned_data
    ids: dict[str, Any] = {"phone": values["phone"], "university_id": values["university"].pk}
    max_id = values["max_id"]
    has_claimed_id = max_id is not None and admin_scope(request) is not None
    is_claimed = has_claimed_id and max_id_claims.is_of_others(max_id, **ids)
    names: dict[str, Any] = {name: values[name] or "" for name in ("first_name", "last_name")}
    return resolve(**ids, max_id=max_id, is_claimed=is_claimed, **names)


@admin.register(Employee)
class EmployeeAdmin(VersionedAdmin, ImportExportModelAdmin):
    form = EmployeeForm
    resource_classes = [EmployeeResource]
    export_formats = EXPORTED
    import_formats = [AnyFormat]
    import_form_class = FileForm
    tmp_storage_class = PreviewStorage
    confirm_form_class = ConfirmForm
    export_form_class = ExportForm
    paginator = EmployeePaginator
    # Half of Django's default, because the theme renders a template for each badge.
    list_display = ("last_name", "first_name", "phone", "max_id", "shown_source", "university")
    # Only columns with an index, because sorting a million rows takes too long.
    sortable_by = ("last_name", "phone")
    list_filter = ("profile_source", "role", ("university", VisibleRowsFilter))
    list_filter_submit = True
    list_select_related = ("university",)
    search_fields = ("last_name", "first_name", "phone")
    search_help_text = _("Part of a name, or a phone number")
    autocomplete_fields = ("university",)
    show_full_result_count = False
    actions = ("refresh_from_cache",)
    object_history_template = "employees/history.html"
    compressed_fields = True
    university_path = "university"

    def get_queryset(self, request: HttpRequest) -> QuerySet[Employee]:
        scope = admin_scope(request)
        return super().get_queryset(request) if scope is None else scope.employees().select_related("university")

    def get_readonly_fields(self, request: HttpRequest, obj: Employee | None = None) -> Any:
        names = ("profile_source", "profile_last_updated", "max_id_updated_at", "created_at", "updated_at")
        return names if obj else ()

    def get_fields(self, request: HttpRequest, obj: Employee | None = None) -> Any:
        return [*EmployeeForm.Meta.fields, *self.get_readonly_fields(request, obj)]

    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any) -> Any:
        """Return a form class with the scope of the request's user, which limits the roles that the form may grant."""
        form = super().get_form(request, obj, change, **kwargs)
        return type(form.__name__, (form,), {"scope": user_scope(request.user)})

    def formfield_for_dbfield(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        if db_field.name == "phone":
            # No maxlength: a browser would cut off pasted text there, and a phone that is cut off is another number.
            kwargs["max_length"] = None
        return super().formfield_for_dbfield(db_field, request, **kwargs)

    def get_search_results(self, request: HttpRequest, queryset: Any, search_term: str) -> tuple[Any, bool]:
        if not search_term:
            return queryset, False
        matches = queryset.matching(search_term)
        if "o" not in request.GET:
            matches = matches.sorted_by_id(matches.count_or_estimate(is_search=True))
        return matches, False

    @display(description=_("profile source"), ordering="profile_source", label=SOURCE_COLOURS)
    def shown_source(self, employee: Employee) -> tuple[str, str]:
        return employee.profile_source, employee.get_profile_source_display()

    def changeform_view(
        self, request: HttpRequest, object_id: str | None = None, form_url: str = "", extra_context: Any = None
    ) -> Any:
        """Look up a new employee's name before Django's transaction begins.

        Inside the transaction, the lookup would hold the lock of MAX's rate limit until the commit.
        """
        if request.method == "POST" and object_id is None and self.has_add_permission(request):
            form = self.get_form(request)(request.POST)
            if form.is_valid():
                request.name_choice = _look_up_name(request, form)  # type: ignore[attr-defined]
        return super().changeform_view(request, object_id, form_url, extra_context)

    @transaction.atomic
    def save_model(self, request: HttpRequest, obj: Employee, form: Any, change: bool) -> None:
        """Create or update an employee as the API does: look up a missing name, and mark a changed name as manual."""
        is_limited = admin_scope(request) is not None
        if change:
            stored = Employee.objects.select_for_update(of=("self",)).get(pk=obj.pk)
            update_employee(stored, form.changed_values, may_clear=True, is_limited=is_limited)
        else:
            name = getattr(request, "name_choice", None) or _look_up_name(request, form)
            has_claimed_id = form.cleaned_data["max_id"] is not None and is_limited
            values = {field: form.cleaned_data[field] for field in ("phone", "middle_name", "university", "role")}
            obj.pk = create_employee(name, has_claimed_id=has_claimed_id, **values).pk
        obj.refresh_from_db()

    @admin.action(description=_("Refresh names from the cache"), permissions=["change"])
    def refresh_from_cache(self, request: HttpRequest, queryset: QuerySet[Employee]) -> None:
        ids = list(queryset.order_by().values_list("pk", flat=True)[: MAX_REFRESHED + 1])
        if len(ids) > MAX_REFRESHED:
            text = _("Select at most %d employees, or start a backfill.") % MAX_REFRESHED
            self.message_user(request, text, messages.ERROR)
            return
        try:
            batches.refuse_while_held()
        except ChangeRefused as refused:
            self.message_user(request, str(refused), messages.ERROR)
            return
        with confirmed_together():
            params = {"changed": sum(map(refresh, ids)), "count": len(ids)}
            message = Message("Names refreshed from the cache: %(changed)d of %(count)d", params)
            audit_log.record(request, message, Employee)
        self.message_user(request, f"{message}.", messages.SUCCESS)

    def render_history_view(self, request: HttpRequest, template: str, context: dict[str, Any], **kwargs: Any) -> Any:
        extra = {"backfilled": backfilled_names(context["object"].pk)}
        return super().render_history_view(request, template, context | extra, **kwargs)

    # Import and export

    def get_urls(self) -> list[Any]:
        page = self.admin_site.admin_view(self.template_view)
        return [path("import/template.<str:kind>", page, name="employees_employee_template"), *super().get_urls()]

    def template_view(self, request: HttpRequest, kind: str) -> HttpResponse:
        """Return a template for imports, with headings and an example row, as a csv or xlsx file."""
        if not self.has_import_permission(request):
            raise PermissionDenied
        if kind not in _TEMPLATES:
            raise Http404
        content = template(kind, is_limited=admin_scope(request) is not None)
        disposition = content_disposition_header(as_attachment=True, filename=f"{_('employees')}.{kind}")
        return HttpResponse(content, content_type=_TEMPLATES[kind], headers={"Content-Disposition": str(disposition)})

    def has_import_permission(self, request: HttpRequest) -> bool:
        scope = admin_scope(request)
        may = self.has_add_permission(request) and self.has_change_permission(request)
        return may and (scope is None or scope.university_id is not None)

    def has_export_permission(self, request: HttpRequest) -> bool:
        return bool(request.user.has_perm(EXPORT) and self.has_view_permission(request))

    def import_action(self, request: HttpRequest, **kwargs: Any) -> Any:
        page = super().import_action(request, **kwargs)
        context = page.context_data
        scope = admin_scope(request)
        context["headings"] = [heading_of(name) for name in COLUMNS]
        context["own_university"] = scope and scope.universities().get()
        if (result := context.get("result")) is None:
            return page
        context["lines"], context["totals"] = result.lines(), result.totals
        if result.warning:
            self.message_user(request, result.warning, messages.WARNING)
        if context["lines"]:
            return page
        if confirm_form := context.get("confirm_form"):
            # Django empties the session when another user logs in.
            names = request.session.get(_UPLOADED, [])[-_MOST_UPLOADED + 1 :]
            request.session[_UPLOADED] = [*names, confirm_form.initial["import_file_name"]]
        if hidden := truncate_preview(result, MAX_PREVIEWED):
            text = _("Showing the first %(shown)d rows; %(hidden)d more are not shown.")
            self.message_user(request, text % {"shown": MAX_PREVIEWED, "hidden": hidden}, messages.INFO)
        elif context.get("confirm_form") and not result.valid_rows():
            self.get_tmp_storage_class()(name=context["confirm_form"].initial["import_file_name"]).remove()
            context["confirm_form"] = context["result"] = None
            text = _("Nothing to import: the directory already has all data from this file.")
            self.message_user(request, text, messages.INFO)
        return page

    def add_data_read_fail_error_to_form(self, form: Any, e: Exception) -> None:
        if not isinstance(e, UnreadableFile):
            raise e
        form.add_error("import_file", str(e))

    def process_import(self, request: HttpRequest, **kwargs: Any) -> Any:
        name = request.POST.get("import_file_name", "")
        if name and name not in request.session.get(_UPLOADED, []):
            return self._no_such_upload(request)
        try:
            return super().process_import(request, **kwargs)
        except UnreadableFile as unreadable:
            self.message_user(request, str(unreadable), messages.ERROR)
            return redirect("admin:employees_employee_import")
        except (FileNotFoundError, IsADirectoryError):
            # An import deletes its file, so a second click on the button does not find it.
            return self._no_such_upload(request)

    def _no_such_upload(self, request: HttpRequest) -> HttpResponse:
        text = _("This file has already been imported, or its preview has expired. Upload it again if needed.")
        self.message_user(request, text, messages.WARNING)
        return redirect("admin:employees_employee_changelist")

    def get_import_resource_kwargs(self, request: HttpRequest, **kwargs: Any) -> dict[str, Any]:
        scope = admin_scope(request)
        limits = {"university": scope.universities().get(), "is_limited": True} if scope else {}
        may_add_universities = self.admin_site.get_model_admin(University).has_add_permission(request)
        own = {"scope": user_scope(request.user), "may_add_universities": may_add_universities, **limits}
        return {**super().get_import_resource_kwargs(request, **kwargs), **own}

    def get_import_data_kwargs(self, **kwargs: Any) -> dict[str, Any]:
        return {**super().get_import_data_kwargs(**kwargs), "rollback_on_validation_errors": True}

    def process_result(self, result: Any, request: HttpRequest) -> Any:
        """Import nothing and show the errors if rows fail because the directory has changed since the preview."""
        errors = result.lines()
        if not errors:
            return super().process_result(result, request)
        text = _("Nothing was imported: the directory has changed since the preview. Rows with errors: %d.")
        for line in (text % result.refused, *errors[:MAX_ERRORS_SHOWN]):
            self.message_user(request, line, messages.ERROR)
        return redirect("admin:employees_employee_import")

    def add_success_message(self, result: Any, request: HttpRequest) -> None:
        """Show how many employees the import added and changed; leave out a number that is 0."""
        added, changed = result.totals["new"], result.totals["update"]
        parts = []
        if added:
            parts.append(ngettext("%(n)d employee was added", "%(n)d employees were added", added) % {"n": added})
        if changed:
            parts.append(
                ngettext("%(n)d employee was changed", "%(n)d employees were changed", changed) % {"n": changed}
            )
        done = ", ".join(parts) or _("all rows are in the directory already")
        messages.success(request, _("The import is finished: %(done)s.") % {"done": done})

    def generate_log_entries(self, result: Any, request: HttpRequest) -> None:
        """Write one log entry for the whole file; each row has its own version in the history."""
        params = {"new": result.totals["new"], "updated": result.totals["update"]}
        audit_log.record(request, Message("Import: %(new)d new, %(updated)d updated", params), Employee)

    def get_export_data(self, file_format: Any, request: HttpRequest, queryset: Any, **kwargs: Any) -> Any:
        data = super().get_export_data(file_format, request, queryset, **kwargs)
        audit_log.record(request, Message("Export of %(count)d employees", {"count": queryset.count()}), Employee)
        return data


@admin.register(University)
class UniversityAdmin(SharedRowsAdmin, VersionedAdmin):
    """Show universities; only users who see all universities may change them, as in the API."""

    form = UniversityForm
    list_display = ("name", "inn", "kpp")
    search_fields = ("name", "inn")
    paginator = BoundedPaginator
    show_full_result_count = False
    university_path = "pk"

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        """Refuse to delete universities with employees, and list these universities.

        Django would list their employees instead, perhaps fifty thousand of them.
        """
        employees = Employee.objects.filter(university=OuterRef("pk"))
        blocked = University.objects.filter(Exists(employees), pk__in=[university.pk for university in objs])
        if not blocked:
            return super().get_deleted_objects(objs, request)
        text = _("%s has employees. Move or delete them first.")
        return [], {}, set(), [text % university for university in blocked]


@admin.register(Membership)
class MembershipAdmin(GlobalScopeAdmin, MergingAdmin, AuditedAdmin):
    list_display = ("user", "university")
    list_select_related = ("user", "university")
    autocomplete_fields = ("user", "university")


@admin.register(MaxIdJob)
class MaxIdJobAdmin(GlobalScopeAdmin, ReadOnlyAdmin):
    list_display = ("id", "shown_status", "done", "failed", "total", "created_at", "finished_at")
    list_select_related = ("requested_by",)
    exclude = ("last_id",)

    @display(description=_("status"), ordering="status", label=JOB_COLOURS)
    def shown_status(self, job: MaxIdJob) -> tuple[str, str]:
        return job.status, job.get_status_display()


@admin.register(UnresolvedName)
class UnresolvedNameAdmin(ScopedAdmin, ReadOnlyAdmin):
    list_display = ("phone", "university", "attempts", "next_try_at")
    list_select_related = ("employee__university",)
    ordering = ("next_try_at",)
    paginator = BoundedPaginator
    university_path = "employee__university"

    @display(description=_("phone"), ordering="employee__phone")
    def phone(self, unresolved: UnresolvedName) -> str:
        return unresolved.employee.phone

    @display(description=_("university"), ordering="employee__university")
    def university(self, unresolved: UnresolvedName) -> University:
        return unresolved.employee.university
