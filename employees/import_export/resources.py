"""Import and export employees. The phone identifies a row's employee, and an empty cell leaves its field unchanged."""

import re
from collections.abc import Callable
from typing import Any

from django.contrib.admin.utils import label_for_field
from django.core.exceptions import ValidationError
from django.utils import timezone
from django.utils.text import capfirst
from django.utils.translation import gettext as _
from import_export.fields import Field
from import_export.resources import Diff, ModelResource
from import_export.results import Result
from import_export.widgets import Widget

from employees.accounts import CURATORS_BY_SUPERADMIN, UserScope
from employees.models import Employee, Role, University, UnresolvedName, validate_inn, validate_kpp
from employees.naming import NAMES
from profiles import names, phones
from profiles.models import ProfileSource
from profiles.user_ids import user_id_of

# Spreadsheets run cells that begin with these characters as formulas; a leading apostrophe makes the cell text.
_FORMULA = re.compile(r"[=+\-@\t\r\n]")
# The columns that an import reads.
COLUMNS = ("phone", *NAMES, "max_id", "role", "inn", "kpp", "university_name")
_PHONE = re.compile(r"\+[0-9]{8,15}")


def _text(value: object) -> str:
    """Return a cell's value as text, without the apostrophe that our exports put before formulas.

    Spreadsheets store phones as numbers.
    """
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    text = str(value if value is not None else "").strip()
    return text[1:] if text.startswith("'") and _FORMULA.match(text[1:]) else text


def _role(text: str) -> str:
    if text.lower() not in Role.values:
        message = _("Invalid role “%s”: enter curator or operator, or leave the cell empty.")
        raise ValueError(message % text)
    return text.lower()


class CellWidget(Widget):
    """Convert a cell's text with ``read``, which raises ValueError for invalid text."""

    def __init__(self, read: Callable[[str], str]) -> None:
        super().__init__()
        self.read = read

    def clean(self, value: Any, row: Any = None, **kwargs: Any) -> str:
        return self.read(_text(value))


class DisplayDiff(Diff):
    """Show the changes of a row with the labels used on pages instead of the codes used in files."""

    def __init__(self, resource: ModelResource, instance: Employee, new: bool) -> None:
        self.left, self.right, self.new = self._values(resource, instance), list[str](), new

    def compare_with(self, resource: ModelResource, instance: Employee) -> None:
        self.right = self._values(resource, instance)

    def _values(self, resource: ModelResource, instance: Employee) -> list[str]:
        labels = {"role": instance.get_role_display, "profile_source": instance.get_profile_source_display}
        return [
            str(labels[field.column_name]()) if field.column_name in labels else str(field.export(instance) or "")
            for field in resource.get_import_fields()
        ]


class EmployeeResource(ModelResource):
    phone = Field(attribute="phone", widget=CellWidget(phones.normalize))
    last_name = Field(attribute="last_name", widget=CellWidget(names.clean))
    first_name = Field(attribute="first_name", widget=CellWidget(names.clean))
    middle_name = Field(attribute="middle_name", widget=CellWidget(names.clean))
    max_id = Field(attribute="max_id", widget=CellWidget(user_id_of))
    role = Field(attribute="role", widget=CellWidget(_role))
    inn = Field(attribute="university__inn", readonly=True)
    kpp = Field(attribute="university__kpp", readonly=True)
    university_name = Field(attribute="university__name", readonly=True)
    profile_source = Field(attribute="profile_source", readonly=True)

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
        on_row: Callable[[], object] = lambda: None,
        scope: UserScope | None = None,
        **kwargs: Any,
    ) -> None:
        """Create a resource for one import or export.

        ``university`` is the default for new employees, ``on_row`` is called after each row, and ``scope`` limits the
        roles that may be granted; without a scope, as in the command, all roles may be granted.
        """
        super().__init__(**kwargs)
        self.university, self.on_row, self.scope = university, on_row, scope

    def get_diff_class(self) -> type[Diff]:
        return DisplayDiff

    def get_diff_headers(self) -> list[str]:
        headers = []
        for field in self.get_import_fields():
            relation, _separator, name = field.attribute.rpartition("__")
            if name == "name":
                relation, name = "", relation
            headers.append(capfirst(str(label_for_field(name, University if relation else Employee))))
        return headers

    def get_queryset(self) -> Any:
        return Employee.objects.select_related("university")

    def export_field(self, field: Field, instance: Employee, **kwargs: Any) -> Any:
        value = super().export_field(field, instance, **kwargs)
        is_formula = isinstance(value, str) and _FORMULA.match(value) and not _PHONE.fullmatch(value)
        return f"'{value}" if is_formula else value

    def import_field(self, field: Field, instance: Employee, row: Any, is_m2m: bool = False, **kwargs: Any) -> None:
        if field.column_name == "phone" or _text(row.get(field.column_name)):
            super().import_field(field, instance, row, is_m2m, **kwargs)

    def import_instance(self, instance: Employee, row: Any, **kwargs: Any) -> None:
        before = {name: getattr(instance, name) for name in (*NAMES, "max_id", "role")}
        super().import_instance(instance, row, **kwargs)
        if instance.role != before["role"] and self.scope and not self.scope.may_grant(instance.role):
            raise ValueError(CURATORS_BY_SUPERADMIN)
        if any(getattr(instance, name) != before[name] for name in NAMES):
            instance.profile_source, instance.profile_last_updated = ProfileSource.MANUAL, None
        elif instance._state.adding:  # noqa: SLF001 (documented by Django)
            instance.profile_source = ProfileSource.DEFAULT
        if instance.max_id != before["max_id"]:
            instance.max_id_updated_at = timezone.now()
        self._set_university(instance, row)

    def _set_university(self, instance: Employee, row: Any) -> None:
        described = {name: _text(row.get(name)) for name in ("inn", "kpp", "university_name")}
        for name, validate in (("inn", validate_inn), ("kpp", validate_kpp)):
            try:
                if described[name]:
                    validate(described[name])
            except ValidationError as error:
                raise ValueError(error.messages[0]) from None
        if described["inn"] or described["university_name"]:
            instance.university = University.objects.described(**described)
        elif instance.university_id is None and self.university is None:
            raise ValueError(_("A new employee needs a university: fill in inn or university_name."))
        elif instance.university_id is None:
            instance.university = self.university

    def after_save_instance(self, instance: Employee, row: Any, **kwargs: Any) -> None:
        """Schedule the lookup of a missing name by the retry task, which keeps within the direct API's rate limit."""
        if instance.profile_source == ProfileSource.DEFAULT:
            UnresolvedName.objects.get_or_create(employee=instance, defaults={"next_try_at": timezone.now()})

    def after_import_row(self, row: Any, row_result: Any, **kwargs: Any) -> None:
        self.on_row()


def row_errors(result: Result) -> list[str]:
    """Return the error messages, each with its row number; the header is row 1."""
    errors = [
        (row.number, f"{field}: {' '.join(texts)}")
        for row in result.invalid_rows
        for field, texts in row.error_dict.items()
    ]
    errors += [(row.number, str(error.error)) for row in result.error_rows for error in row.errors]
    lines = [_("Row %(row)s: %(error)s") % {"row": number + 1, "error": text} for number, text in sorted(errors)]
    return lines + [str(error.error) for error in result.base_errors]


def truncate_preview(result: Result, limit: int) -> int:
    """Limit the preview to ``limit`` rows, or to ``limit`` rows with errors if there are any.

    Return the number of rows that are hidden.
    """
    if result.has_errors():
        rows, result.error_rows = result.error_rows, result.error_rows[:limit]
    elif result.has_validation_errors():
        rows, result.invalid_rows = result.invalid_rows, result.invalid_rows[:limit]
    else:
        rows = result.valid_rows()
        result.rows = rows[:limit]
    return max(0, len(rows) - limit)
