"""Import and export employees. The phone identifies a row's employee, and an empty cell leaves its field unchanged."""

from collections.abc import Callable
from functools import partial
from operator import itemgetter
from typing import Any

from django.contrib.admin.utils import label_for_field
from django.core.exceptions import ValidationError
from django.core.validators import RegexValidator
from django.utils import timezone
from django.utils.text import capfirst
from django.utils.translation import gettext as _
from import_export.fields import Field
from import_export.resources import Diff, ModelResource
from import_export.results import Result

from config.lib import text as texts
from employees import max_id_claims
from employees.accounts import CURATORS_BY_SUPERADMIN, UserScope
from employees.import_export.cells import read_id, read_phone, read_text, write
from employees.import_export.tables import COLUMNS, ROW_NUMBER
from employees.import_export.workbook import Cell
from employees.models import Employee, Role, University, UnresolvedName, validate_inn, validate_kpp
from employees.naming import NAMES
from profiles import names
from profiles.models import ProfileSource
from profiles.user_ids import user_id_of

_LONGEST_UNIVERSITY_NAME = 500


def _name(cell: Cell) -> str:
    return names.clean(read_text(cell))


def _max_id(cell: Cell) -> str:
    text = read_id(cell)
    return user_id_of(text) if text else ""


def _role(cell: Cell) -> str:
    text = read_id(cell).lower()
    if text and text not in Role.values:
        message = _("Invalid role “%s”: enter curator or operator, or leave the cell empty.")
        raise ValueError(message % text[:50])
    return text


def _code(validate: RegexValidator, cell: Cell) -> str:
    text = read_id(cell)
    if text:
        validate(text)
    return text


def _university_name(cell: Cell) -> str:
    text = read_text(cell)
    if len(text) > _LONGEST_UNIVERSITY_NAME:
        raise ValueError(_("The name has more than %d characters.") % _LONGEST_UNIVERSITY_NAME)
    return text if texts.is_visible(text) else ""


# Return the value of a cell, "" for an empty one; raise ValueError or ValidationError for an invalid one.
_READERS: dict[str, Callable[[Cell], str]] = {
    **dict.fromkeys(NAMES, _name),
    "max_id": _max_id,
    "role": _role,
    "inn": partial(_code, validate_inn),
    "kpp": partial(_code, validate_kpp),
    "university_name": _university_name,
}
_TEXTS = {*NAMES, "university_name"}


class NumberedResult(Result):
    """Number errors by the rows of the file, which differ from the rows of the table if there are blank ones.

    ``warning`` names the columns of the file that are filled but not read, or is empty.
    """

    warning = ""

    def append_error_row(self, number: int, row: Any, errors: Any) -> None:
        super().append_error_row(row.get(ROW_NUMBER, number), row, errors)

    def append_invalid_row(self, number: int, row: Any, validation_error: ValidationError) -> None:
        super().append_invalid_row(row.get(ROW_NUMBER, number), row, validation_error)


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
    phone = Field(attribute="phone")
    last_name = Field(attribute="last_name")
    first_name = Field(attribute="first_name")
    middle_name = Field(attribute="middle_name")
    max_id = Field(attribute="max_id")
    role = Field(attribute="role")
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

    def get_result_class(self) -> type[Result]:
        return NumberedResult

    def export_field(self, field: Field, instance: Employee, **kwargs: Any) -> Any:
        value = super().export_field(field, instance, **kwargs)
        return write(value, is_text=field.column_name in _TEXTS) if isinstance(value, str) else value

    def before_import(self, dataset: Any, **kwargs: Any) -> None:
        self.rows_by_phone: dict[str, int] = {}

    def after_import(self, dataset: Any, result: Result, **kwargs: Any) -> None:
        """Warn of columns without a use."""
        if ignored := getattr(dataset, "ignored", {}):
            columns = ", ".join(f"{letter} “{heading}”" if heading else letter for letter, heading in ignored.items())
            message = _("The file has columns that are not imported, because their headings are unknown: %s.")
            result.warning = message % columns[:500]

    def before_import_row(self, row: Any, **kwargs: Any) -> None:
        """Normalize the phone, by which the employee is found; raise ValidationError if another row has it too."""
        try:
            row["phone"] = read_phone(row["phone"])
        except ValueError as error:
            raise ValidationError({"phone": str(error)}) from None
        first = self.rows_by_phone.setdefault(row["phone"], row[ROW_NUMBER])
        if first != row[ROW_NUMBER]:
            text = _("Row %d has the same phone. Delete one of the two rows, or correct its phone.")
            raise ValidationError({"phone": text % first})

    def import_instance(self, instance: Employee, row: Any, **kwargs: Any) -> None:
        """Set the fields whose cells are filled; raise ValidationError with the errors of all cells."""
        values = self._read(instance, row)
        described = {name: values.pop(name) for name in ("inn", "kpp", "university_name")}
        before = {name: getattr(instance, name) for name in values}
        for name, value in values.items():
            setattr(instance, name, value or before[name])
        instance.phone = row["phone"]
        if any(getattr(instance, name) != before[name] for name in NAMES):
            instance.profile_source, instance.profile_last_updated = ProfileSource.MANUAL, None
        elif instance._state.adding:  # noqa: SLF001 (documented by Django)
            instance.profile_source = ProfileSource.DEFAULT
        has_other_id = instance.max_id != before["max_id"]
        self.has_new_id = has_other_id and not instance._state.adding  # noqa: SLF001 (documented by Django)
        if has_other_id:
            instance.max_id_updated_at = timezone.now()
        if described["inn"] or described["university_name"]:
            instance.university = University.objects.described(**described)
        elif instance.university_id is None:
            instance.university = self.university

    def _read(self, instance: Employee, row: Any) -> dict[str, str]:
        values, errors = {}, {}
        for column, read in _READERS.items():
            try:
                values[column] = read(row.get(column, ""))
            except ValidationError as error:
                errors[column] = error.messages
            except ValueError as error:
                errors[column] = [str(error)]
        role = values.get("role")
        if role and role != instance.role and self.scope and not self.scope.may_grant(role):
            errors["role"] = [str(CURATORS_BY_SUPERADMIN)]
        has_university = instance.university_id or self.university or values.get("inn") or values.get("university_name")
        if not has_university and not {"inn", "university_name"} & errors.keys():
            errors["university_name"] = [_("A new employee needs a university: fill in inn or university_name.")]
        if errors:
            raise ValidationError(errors)
        return values

    def after_save_instance(self, instance: Employee, row: Any, **kwargs: Any) -> None:
        """Record a MAX ID that was entered later as a claim, and schedule the lookup of a missing name.

        The retry task keeps within the direct API's rate limit.
        """
        if instance.profile_source == ProfileSource.DEFAULT:
            UnresolvedName.objects.get_or_create(employee=instance, defaults={"next_try_at": timezone.now()})
        if self.has_new_id:
            max_id_claims.record(instance, is_limited=False)

    def after_import_row(self, row: Any, row_result: Any, **kwargs: Any) -> None:
        self.on_row()


def row_errors(result: Result) -> list[str]:
    """Return the error messages, each with the row's number in the file and the column."""
    errors = [
        (row.number, _("Row %(row)s: %(error)s") % {"row": row.number, "error": f"{column}: {' '.join(texts)}"})
        for row in result.invalid_rows
        for column, texts in row.error_dict.items()
    ]
    errors += [
        (row.number, _("Row %(row)s: %(error)s") % {"row": row.number, "error": error.error})
        for row in result.error_rows
        for error in row.errors
    ]
    # The sort is stable: the errors of a row stay in the order of columns.
    lines = [line for _number, line in sorted(errors, key=itemgetter(0))]
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
