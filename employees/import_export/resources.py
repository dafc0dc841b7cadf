"""Import and export employees. The phone identifies a row's employee, and an empty cell leaves its field unchanged."""

from collections.abc import Callable
from functools import cache, partial
from operator import itemgetter
from typing import Any

from django.conf import settings
from django.contrib.admin.utils import label_for_field
from django.core.exceptions import NON_FIELD_ERRORS, ValidationError
from django.core.validators import RegexValidator
from django.utils import timezone
from django.utils.html import escape, format_html
from django.utils.text import capfirst
from django.utils.translation import gettext as _
from django.utils.translation import override
from import_export.fields import Field
from import_export.resources import Diff, ModelResource
from import_export.results import Result

from config.lib import text as texts
from employees import max_id_claims
from employees.accounts import CURATORS_BY_SUPERADMIN, UserScope
from employees.import_export.cells import LONGEST, read_code, read_id, read_phone, read_text, write
from employees.import_export.headings import COLUMNS, heading_of
from employees.import_export.tables import ROW_NUMBER
from employees.import_export.workbook import Cell
from employees.models import (
    KPP_WITHOUT_INN,
    PHONE_TAKEN,
    UNIVERSITY_NOT_FOUND,
    AmbiguousUniversity,
    Employee,
    Role,
    University,
    UnresolvedName,
    validate_inn,
    validate_kpp,
)
from employees.naming import NAMES
from profiles import names
from profiles.models import ProfileSource
from profiles.typed_values import bare
from profiles.user_ids import user_id_of

_LONGEST_UNIVERSITY_NAME = 500


def _name(cell: Cell) -> str:
    return names.clean(read_text(cell))


def _max_id(cell: Cell) -> str:
    text = read_id(cell)
    return user_id_of(text) if text else ""


def _role(cell: Cell) -> str:
    text = read_code(cell)
    # A longer text is no role, and its key would take long.
    role = _roles().get(texts.look_alike_key(text[:100]), "") if text else ""
    if text and not role:
        message = _("Invalid role “%(role)s”: enter %(roles)s, or leave the cell empty.")
        roles = _(" or ").join(map(str, Role.labels))
        raise ValueError(message % {"role": text[:50], "roles": roles})
    return role


@cache
def _roles() -> dict[str, str]:
    """Return a dict of role codes; the keys are the normalised codes and the normalised labels in each language."""
    roles = {texts.look_alike_key(role): str(role.value) for role in Role}
    for language, _name in settings.LANGUAGES:
        with override(language):
            roles |= {texts.look_alike_key(str(role.label)): str(role.value) for role in Role}
    return roles


def _code(validate: RegexValidator, cell: Cell) -> str:
    text = read_code(cell)
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


def _is_stored_id(instance: Employee, column: str, cell: Cell) -> bool:
    """Return whether the cell repeats the stored MAX ID, which is accepted even if it would be invalid as a new ID."""
    return column == "max_id" and isinstance(cell, str) and bare(cell[:LONGEST]) == instance.max_id


_TEXTS = {*NAMES, "university_name"}


class NumberedResult(Result):
    """The result of an import; its errors have the row numbers of the file, in which blank rows are counted too.

    ``headings`` holds the headings of the file by column. ``warning`` names the filled columns of the file that are not
    imported; it is empty if there are none.
    """

    warning = ""

    def __init__(self) -> None:
        super().__init__()
        self.headings: dict[str, str] = {}
        self.phones: dict[int, str] = {}

    def append_error_row(self, number: int, row: Any, errors: Any) -> None:
        super().append_error_row(self._number(row, number), row, errors)

    def append_invalid_row(self, number: int, row: Any, validation_error: ValidationError) -> None:
        super().append_invalid_row(self._number(row, number), row, validation_error)

    def _number(self, row: Any, number: int) -> int:
        found: int = row.get(ROW_NUMBER, number)
        self.phones[found] = str(row.get("phone", ""))[:50]
        return found

    def lines(self, *, mask: Callable[[str], str] = str) -> list[str]:
        """Return the error messages, each with the row's number in the file, the column's heading and the phone.

        ``mask`` shortens the phones for terminals, because their output may be stored.
        """
        errors = [
            (row.number, f"{self._heading(column)}{' '.join(messages)}")
            for row in self.invalid_rows
            for column, messages in row.error_dict.items()
        ]
        errors += [(row.number, str(error.error)) for row in self.error_rows for error in row.errors]
        # The sort is stable: the errors of a row stay in the order of columns.
        lines = [self._line(number, error, mask) for number, error in sorted(errors, key=itemgetter(0))]
        return lines + [str(error.error) for error in self.base_errors]

    def _line(self, number: int, error: str, mask: Callable[[str], str]) -> str:
        phone = self.phones.get(number, "")
        params = {"row": number, "error": error, "phone": phone and mask(phone)}
        text = _("Row %(row)s: %(error)s Phone: %(phone)s") if params["phone"] else _("Row %(row)s: %(error)s")
        return text % params

    def _heading(self, column: str) -> str:
        return "" if column == NON_FIELD_ERRORS else f"{self.headings.get(column) or heading_of(column)}: "

    @property
    def refused(self) -> int:
        return len(self.invalid_rows) + len(self.error_rows)


class DisplayDiff(Diff):
    """Show the changes of a row with the labels used on pages instead of the codes used in files."""

    def __init__(self, resource: ModelResource, instance: Employee, new: bool) -> None:
        self.left, self.right, self.new = self._values(resource, instance), list[str](), new

    def compare_with(self, resource: ModelResource, instance: Employee) -> None:
        self.right = self._values(resource, instance)

    def as_html(self) -> list[str]:
        """Return the new values as HTML, each changed value after the old one, as in “Федор → Фёдор”."""
        return [
            escape(new)
            if self.new or new == old
            else format_html("<del>{}</del> → <ins>{}</ins>", old or "—", new or "—")
            for old, new in zip(self.left, self.right, strict=True)
        ]

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
        is_limited: bool = False,
        may_add_universities: bool = True,
        **kwargs: Any,
    ) -> None:
        """Create a resource for one import or export.

        ``university`` is the default university of new employees, and with ``is_limited`` the only one allowed. Without
        ``may_add_universities``, a row whose university does not exist is refused. ``on_row`` is called after each row.
        ``scope`` limits the roles that may be granted; without a scope, as in the command, all roles may be granted.
        """
        super().__init__(**kwargs)
        self.university, self.on_row, self.scope, self.is_limited = university, on_row, scope, is_limited
        self.may_add_universities = may_add_universities

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
        self.table_errors: dict[int, str] = getattr(dataset, "errors", {})

    def after_import(self, dataset: Any, result: Result, **kwargs: Any) -> None:
        """Copy the file's headings to the result, and warn of filled columns that are not imported."""
        result.headings = getattr(dataset, "headings", {})
        if ignored := getattr(dataset, "ignored", {}):
            named = _("%(letter)s “%(heading)s”")
            columns = ", ".join(
                named % {"letter": letter, "heading": heading} if heading else letter
                for letter, heading in ignored.items()
            )
            message = _(
                "The file has columns that are not imported, because their headings are unknown: %(columns)s. To import"
                " one of them, give it one of these headings: %(headings)s."
            )
            headings = ", ".join(map(heading_of, COLUMNS))
            result.warning = message % {"columns": columns[:500], "headings": headings}

    def before_import_row(self, row: Any, **kwargs: Any) -> None:
        """Normalise the phone, which identifies the employee.

        ``import_instance`` raises the phone's errors together with those of the other cells.
        """
        self.row_errors: dict[str, list[str]] = {}
        self.found_university: University | None = None
        if row[ROW_NUMBER] in self.table_errors:
            self.row_errors[NON_FIELD_ERRORS] = [self.table_errors[row[ROW_NUMBER]]]
        try:
            row["phone"] = read_phone(row["phone"])
        except ValueError as error:
            self.row_errors["phone"] = [str(error)]
            row["phone"] = row["phone"] if isinstance(row["phone"], str) else ""
            return
        first = self.rows_by_phone.setdefault(row["phone"], row[ROW_NUMBER])
        if first != row[ROW_NUMBER]:
            text = _("Row %d has the same phone. Delete one of the two rows, or correct the phone in one of them.")
            self.row_errors["phone"] = [text % first]

    def get_instance(self, instance_loader: Any, row: Any) -> Employee | None:
        """Return the employee with the row's phone; None if nobody has it, or if the user may not see the employee."""
        if "phone" in self.row_errors:
            return None
        found: Employee | None = super().get_instance(instance_loader, row)
        if found and self.is_limited and found.university_id != self._default_id:
            self.row_errors["phone"] = [str(PHONE_TAKEN)]
            return None
        return found

    def import_instance(self, instance: Employee, row: Any, **kwargs: Any) -> None:
        """Set the fields whose cells are filled; raise ValidationError with the errors of all cells."""
        is_new = instance._state.adding  # noqa: SLF001 (documented by Django)
        values = self._read(instance, row)
        described = {name: values.pop(name) for name in ("inn", "kpp", "university_name")}
        before = {name: getattr(instance, name) for name in values}
        for name, value in values.items():
            setattr(instance, name, value or before[name])
        instance.phone = row["phone"]
        if any(getattr(instance, name) != before[name] for name in NAMES):
            instance.profile_source, instance.profile_last_updated = ProfileSource.MANUAL, None
        elif is_new:
            instance.profile_source = ProfileSource.DEFAULT
        has_other_id = instance.max_id != before["max_id"]
        self.has_claimed_id = has_other_id and (self.is_limited or not is_new)
        if has_other_id:
            instance.max_id_updated_at = timezone.now()
        if not self.is_limited and (described["inn"] or described["university_name"]):
            instance.university = self.found_university or University.objects.create_described(**described)
        elif instance.university_id is None:
            instance.university = self.university

    @property
    def _default_id(self) -> int | None:
        return self.university.pk if self.university else None

    def _read(self, instance: Employee, row: Any) -> dict[str, str]:
        values, errors = dict[str, str](), self.row_errors
        for column, read in _READERS.items():
            try:
                cell = row.get(column, "")
                values[column] = (instance.max_id or "") if _is_stored_id(instance, column, cell) else read(cell)
            except ValidationError as error:
                errors[column] = error.messages
            except ValueError as error:
                errors[column] = [str(error)]
        role = values.get("role")
        if role and role != instance.role and self.scope and not self.scope.may_grant(role):
            errors["role"] = [str(CURATORS_BY_SUPERADMIN)]
        if not {"inn", "kpp", "university_name"} & errors.keys():
            errors.update(self._university_errors(instance, values))
        if errors:
            raise ValidationError(errors)
        return values

    def _university_errors(self, instance: Employee, values: dict[str, str]) -> dict[str, list[str]]:
        """Find the row's university; return a dict of error messages by column, which is empty if there are none."""
        described = {name: values[name] for name in ("inn", "kpp", "university_name")}
        if not (described["inn"] or described["university_name"]):
            own = instance.university if instance.university_id else self.university
            # If the phone is invalid, the row may belong to an employee, who has a university.
            if own is None and "phone" not in self.row_errors:
                return {"university_name": [_("A new employee needs a university: fill in its name or its INN.")]}
            return {"kpp": [str(KPP_WITHOUT_INN)]} if own and described["kpp"] not in ("", own.kpp) else {}
        known = University.objects.filter(pk__in=[self._default_id]) if self.is_limited else University.objects.all()
        try:
            self.found_university = known.find(**described)
        except AmbiguousUniversity as error:
            return {error.field: [str(error)]}
        if self.found_university or (self.may_add_universities and not self.is_limited):
            return {}
        text = str(UNIVERSITY_NOT_FOUND)
        if self.is_limited:
            named = ", ".join(filter(None, (described["university_name"], described["inn"], described["kpp"])))
            text = _("“%(other)s” is another university. You can import only employees of “%(own)s”.")
            text = text % {"other": named[:200], "own": self.university}
        return {"inn" if described["inn"] else "university_name": [text]}

    def after_save_instance(self, instance: Employee, row: Any, **kwargs: Any) -> None:
        """Record the MAX ID as a claim if needed, and schedule the lookup of a missing name by the retry task.

        An ID is a claim if it is new for an existing employee, or if a user who is limited to a university entered it.
        """
        if instance.profile_source == ProfileSource.DEFAULT:
            UnresolvedName.objects.get_or_create(employee=instance, defaults={"next_try_at": timezone.now()})
        if self.has_claimed_id:
            max_id_claims.record(instance, is_limited=self.is_limited)

    def after_import_row(self, row: Any, row_result: Any, **kwargs: Any) -> None:
        row_result.file_row = row.get(ROW_NUMBER)
        self.on_row()


def truncate_preview(result: Result, limit: int) -> int:
    """Limit the preview to ``limit`` rows; return the number of rows that are hidden."""
    rows = result.valid_rows()
    result.rows = rows[:limit]
    return max(0, len(rows) - limit)
