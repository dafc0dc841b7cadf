from __future__ import annotations

from typing import Any, ClassVar

from django import forms
from django.utils.translation import gettext_lazy as _

from employees.models import Employee, University
from employees.naming import NAMES
from employees.tax_numbers import inn_of, kpp_of
from profiles import names, phones
from profiles.identity import user_id_of


class EmployeeForm(forms.ModelForm):  # type: ignore[type-arg]
    """An employee as the admin edits one: spelled as the API spells it. Who answers for the name follows from it."""

    class Meta:
        model = Employee
        fields = ("phone", "last_name", "first_name", "middle_name", "max_id", "university", "role")
        error_messages: ClassVar = {"phone": {"unique": _("an employee with this phone already exists")}}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.instance.pk is None:
            # A new employee is looked up, as by the API.
            for name in ("last_name", "first_name"):
                self.fields[name].required, self.fields[name].initial = False, ""

    def clean_phone(self) -> str:
        try:
            return phones.normalize(self.cleaned_data["phone"])
        except ValueError as error:
            raise forms.ValidationError(str(error)) from None

    def clean_max_id(self) -> str | None:
        if not self.cleaned_data["max_id"]:
            return None
        try:
            return user_id_of(self.cleaned_data["max_id"])
        except ValueError as error:
            raise forms.ValidationError(str(error)) from None

    def clean(self) -> dict[str, Any]:
        given: dict[str, Any] = super().clean() or self.cleaned_data
        given |= {name: names.clean(given[name]) for name in NAMES if name in given}
        if self.instance.pk and given.get("first_name") == "":
            self.add_error("first_name", self.fields["first_name"].error_messages["required"])
        return given

    @property
    def given(self) -> dict[str, Any]:
        return {name: self.cleaned_data[name] for name in self.changed_data}


class UniversityForm(forms.ModelForm):  # type: ignore[type-arg]
    class Meta:
        model = University
        fields = ("name", "inn", "kpp")

    def clean_inn(self) -> str:
        try:
            return inn_of(self.cleaned_data["inn"])
        except ValueError as error:
            raise forms.ValidationError(str(error)) from None

    def clean_kpp(self) -> str:
        try:
            return kpp_of(self.cleaned_data["kpp"])
        except ValueError as error:
            raise forms.ValidationError(str(error)) from None

    def clean(self) -> dict[str, Any]:
        """Say of a university that exists what the database's constraints say by their names."""
        given: dict[str, Any] = super().clean() or self.cleaned_data
        others = University.objects.exclude(pk=self.instance.pk)
        inn, kpp = given.get("inn"), given.get("kpp")
        if inn and kpp is not None and others.filter(inn=inn, kpp=kpp).exists():
            self.add_error("inn", _("a university with this INN and KPP exists already"))
        if inn == "" and others.filter(inn="", name=given.get("name")).exists():
            self.add_error("name", _("a university with this name and without an INN exists already"))
        return given
