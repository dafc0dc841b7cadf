"""Import and export of employees as CSV and XLSX: by phone, blanks change nothing, errors in words."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from django.contrib.admin.utils import label_for_field
from django.utils import timezone
from django.utils.text import capfirst
from django.utils.translation import gettext as _
from import_export.fields import Field
from import_export.resources import Diff, ModelResource
from import_export.results import Result
from import_export.widgets import Widget

from employees.accounts import UserScope
from employees.models import Employee, Role, University
from employees.naming import NAMES, schedule_lookup, set_name_source
from employees.tax_numbers import inn_of, kpp_of
from profiles import names, phones
from profiles.user_ids import user_id_of

# A spreadsheet runs a cell that begins so; an apostrophe before it shows it as text. A phone is a number at worst.
_FORMULA = re.compile(r"[=+\-@\t\r\n]")
# Those that an import reads.
COLUMNS = ("phone", *NAMES, "max_id", "role", "inn", "kpp", "university_name")
_PHONE = re.compile(r"\+[0-9]{8,15}")


def defused(text: str) -> str:
    return f"'{text}" if _FORMULA.match(text) and not _PHONE.fullmatch(text) else text


def _text(value: object) -> str:
    """Read a cell: spreadsheets keep phones as numbers, and text that we defused with an apostrophe."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    text = str(value if value is not None else "").strip()
    return text[1:] if text.startswith("'") and _FORMULA.match(text[1:]) else text


class PhoneWidget(Widget):
    def clean(self, value: Any, row: Any = None, **kwargs: Any) -> str:
        return phones.normalize(_text(value))


class NameWidget(Widget):
    def clean(self, value: Any, row: Any = None, **kwargs: Any) -> str:
        return names.clean(_text(value))


class MaxIdWidget(Widget):
    def clean(self, value: Any, row: Any = None, **kwargs: Any) -> str:
        return user_id_of(_text(value))


class RoleWidget(Widget):
    def clean(self, value: Any, row: Any = None, **kwargs: Any) -> str:
        role = _text(value).lower()
        if role not in Role.values:
            raise ValueError(_("a role is curator, operator or empty, not “%s”") % role)
        return role


def heading(field: Field) -> str:
    """Return what a column of a file is called by people."""
    relation, _separator, name = field.attribute.rpartition("__")
    if name == "name":
        relation, name = "", relation
    return capfirst(str(label_for_field(name, University if relation else Employee)))


class DisplayDiff(Diff):
    """What a row changes, in the words of the screens: files have codes."""

    def __init__(self, resource: EmployeeResource, instance: Employee, new: bool) -> None:
        self.left, self.right, self.new = _told(resource, instance), list[str](), new

    def compare_with(self, resource: EmployeeResource, instance: Employee) -> None:
        self.right = _told(resource, instance)


def _told(resource: EmployeeResource, instance: Employee) -> list[str]:
    labels = {"role": instance.get_role_display, "profile_source": instance.get_profile_source_display}
    return [
        str(labels[field.column_name]()) if field.column_name in labels else str(field.export(instance) or "")
        for field in resource.get_import_fields()
    ]


class EmployeeResource(ModelResource):
    phone = Field(column_name="phone", attribute="phone", widget=PhoneWidget())
    last_name = Field(column_name="last_name", attribute="last_name", widget=NameWidget())
    first_name = Field(column_name="first_name", attribute="first_name", widget=NameWidget())
    middle_name = Field(column_name="middle_name", attribute="middle_name", widget=NameWidget())
    max_id = Field(column_name="max_id", attribute="max_id", widget=MaxIdWidget())
    role = Field(column_name="role", attribute="role", widget=RoleWidget())
    inn = Field(column_name="inn", attribute="university__inn", readonly=True)
    kpp = Field(column_name="kpp", attribute="university__kpp", readonly=True)
    university_name = Field(column_name="university_name", attribute="university__name", readonly=True)
    profile_source = Field(column_name="profile_source", attribute="profile_source", readonly=True)

    class Meta:
        model = Employee
        fields = (*COLUMNS, "profile_source")
        import_id_fields = ("phone",)
        use_transactions = True
        skip_unchanged = True
        report_skipped = False

    def __init__(
        self,
        *,
        university: University | None = None,
        on_row: Callable[[], None] | None = None,
        scope: UserScope | None = None,
        **kwargs: Any,
    ) -> None:
        """``scope`` is whose roles may be given; without one a command reads the file, and may give any."""
        super().__init__(**kwargs)
        self.university = university
        self.on_row = on_row
        self.scope = scope

    def get_diff_class(self) -> type[Diff]:
        return DisplayDiff

    def get_diff_headers(self) -> list[str]:
        return [heading(field) for field in self.get_import_fields()]

    def get_queryset(self) -> Any:
        return Employee.objects.select_related("university")

    def export_field(self, field: Field, instance: Employee, **kwargs: Any) -> Any:
        value = super().export_field(field, instance, **kwargs)
        return defused(value) if isinstance(value, str) else value

    def import_field(self, field: Field, instance: Employee, row: Any, is_m2m: bool = False, **kwargs: Any) -> None:
        if field.column_name == "phone" or _text(row.get(field.column_name)):
            super().import_field(field, instance, row, is_m2m, **kwargs)

    def import_instance(self, instance: Employee, row: Any, **kwargs: Any) -> None:
        before = {name: getattr(instance, name) for name in (*NAMES, "max_id", "role")}
        super().import_instance(instance, row, **kwargs)
        if instance.role != before["role"] and self.scope and not self.scope.may_grant(instance.role):
            raise ValueError(_("only a superadmin makes curators"))
        set_name_source(instance, is_named=any(getattr(instance, name) != before[name] for name in NAMES))
        if instance.max_id != before["max_id"]:
            instance.max_id_updated_at = timezone.now()
        self._place(instance, row)

    def _place(self, instance: Employee, row: Any) -> None:
        described = {name: _text(row.get(name)) for name in ("inn", "kpp", "university_name")}
        inn_of(described["inn"])
        kpp_of(described["kpp"])
        if described["inn"] or described["university_name"]:
            instance.university = University.objects.described(**described)
        elif instance.university_id is None and self.university is not None:
            instance.university = self.university
        elif instance.university_id is None:
            raise ValueError(_("a new employee needs an INN or the name of a university"))

    def after_save_instance(self, instance: Employee, row: Any, **kwargs: Any) -> None:
        schedule_lookup(instance)

    def after_import_row(self, row: Any, row_result: Any, **kwargs: Any) -> None:
        if self.on_row is not None:
            self.on_row()


def problems(result: Result) -> list[str]:
    """Say each row's errors; the heading is row 1, as a spreadsheet counts."""
    rows = [
        (row.number, f"{field}: {' '.join(texts)}")
        for row in result.invalid_rows
        for field, texts in row.error_dict.items()
    ]
    rows += [(row.number, str(error.error)) for row in result.error_rows for error in row.errors]
    told = [_("Row %(row)s: %(error)s") % {"row": number + 1, "error": words} for number, words in sorted(rows)]
    return told + [str(error.error) for error in result.base_errors]


def shorten(result: Result, most: int) -> int:
    """Leave ``most`` rows to be shown, of those with errors where there are any; return how many were dropped."""
    if result.has_errors():
        shown, result.error_rows = result.error_rows, result.error_rows[:most]
    elif result.has_validation_errors():
        shown, result.invalid_rows = result.invalid_rows, result.invalid_rows[:most]
    else:
        shown = result.valid_rows()
        result.rows = shown[:most]
    return max(0, len(shown) - most)
