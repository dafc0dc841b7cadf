from collections.abc import Callable
from typing import Any, ClassVar

from django import forms
from django.utils.translation import gettext_lazy as _

from employees.accounts import CURATORS_BY_SUPERADMIN, UserScope
from employees.models import PHONE_TAKEN, Employee, University, validate_inn, validate_kpp, validate_visible
from employees.naming import NAMES
from profiles import names, phones, user_ids


def _normalized(normalize: Callable[[str], str], text: str) -> str:
    try:
        return normalize(text)
    except ValueError as error:
        raise forms.ValidationError(str(error)) from None


class EmployeeForm(forms.ModelForm):  # type: ignore[type-arg]
    """The admin's form for an employee, which accepts the same formats of phones and MAX IDs as the API."""

    scope: ClassVar[UserScope] = UserScope(None)

    class Meta:
        model = Employee
        fields = ("phone", "last_name", "first_name", "middle_name", "max_id", "university", "role")
        error_messages: ClassVar = {"phone": {"unique": PHONE_TAKEN}}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.instance.pk is None:
            # The name is optional, because a new employee's name is looked up, as in the API.
            for name in ("last_name", "first_name"):
                self.fields[name].required, self.fields[name].initial = False, ""

    def clean_phone(self) -> str:
        return _normalized(phones.normalize, self.cleaned_data["phone"])

    def clean_max_id(self) -> str | None:
        """Return the ID; the stored ID is accepted unchanged, even if it would be invalid as a new ID."""
        max_id: str | None = self.cleaned_data["max_id"] or None
        is_stored = max_id == self.instance.max_id
        return max_id if is_stored or max_id is None else _normalized(user_ids.typed, max_id)

    def clean_role(self) -> str:
        role: str = self.cleaned_data["role"]
        if "role" in self.changed_data and role != self.instance.role and not self.scope.may_grant(role):
            raise forms.ValidationError(CURATORS_BY_SUPERADMIN)
        return role

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or self.cleaned_data
        cleaned |= {name: names.clean(cleaned[name]) for name in NAMES if name in cleaned}
        if self.instance.pk and cleaned.get("first_name") == "":
            self.add_error("first_name", self.fields["first_name"].error_messages["required"])
        return cleaned

    @property
    def changed_values(self) -> dict[str, Any]:
        return {name: self.cleaned_data[name] for name in self.changed_data}


class UniversityForm(forms.ModelForm):  # type: ignore[type-arg]
    class Meta:
        model = University
        fields = ("name", "inn", "kpp")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name, validator in (("name", validate_visible), ("inn", validate_inn), ("kpp", validate_kpp)):
            # For users with only the view permission, the form has no fields.
            if name in self.fields:
                self.fields[name].validators.append(validator)

    def clean(self) -> dict[str, Any]:
        """Report a duplicate university in a readable message: Django's message would name the constraint."""
        cleaned: dict[str, Any] = super().clean() or self.cleaned_data
        if not self.errors and cleaned.keys() >= {"name", "inn", "kpp"}:
            others = University.objects.exclude(pk=self.instance.pk)
            numbers = {"inn": cleaned["inn"], "kpp": cleaned["kpp"]}
            if others.is_known(**numbers, university_name=cleaned["name"]):
                by_numbers = _("A university with this INN and KPP already exists.")
                by_name = _("A university with this name already exists.")
                has_numbers = cleaned["inn"] and others.filter(**numbers).exists()
                self.add_error(*(("inn", by_numbers) if has_numbers else ("name", by_name)))
        return cleaned
