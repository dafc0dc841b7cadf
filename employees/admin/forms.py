from __future__ import annotations

from typing import Any, ClassVar

from django import forms
from django.forms import model_to_dict
from django.utils.translation import gettext_lazy as _

from employees.accounts import UserScope
from employees.models import Employee, University
from employees.naming import NAMES
from employees.tax_numbers import inn_of, kpp_of
from profiles import names, phones
from profiles.user_ids import user_id_of


class EmployeeForm(forms.ModelForm):  # type: ignore[type-arg]
    """An employee as the admin edits one: spelled as the API spells it. Who answers for the name follows from it."""

    scope: ClassVar[UserScope] = UserScope(None)

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
        else:
            self._show_what_it_was()

    def _show_what_it_was(self) -> None:
        """Have the page send back what it showed: against that, and not what came since, is told what was touched.

        Whoever posts without having been shown anything is measured against the database.
        """
        for name in self.fields:
            self.fields[name].show_hidden_initial = not self.is_bound or self._shown_as(name) in self.data

    def _shown_as(self, name: str) -> str:
        return self.add_initial_prefix(self.add_prefix(name))

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

    def clean_role(self) -> str:
        role: str = self.cleaned_data["role"]
        if "role" in self.changed_data and role != self.instance.role and not self.scope.may_grant(role):
            raise forms.ValidationError(_("only a superadmin makes curators"))
        return role

    def clean(self) -> dict[str, Any]:
        given: dict[str, Any] = super().clean() or self.cleaned_data
        given |= {name: names.clean(given[name]) for name in NAMES if name in given}
        if self.instance.pk and given.get("first_name") == "":
            self.add_error("first_name", self.fields["first_name"].error_messages["required"])
        if self.instance.pk:
            self._merge(given)
        return given

    def _merge(self, given: dict[str, Any]) -> None:
        """Keep what was not touched as it is by now, and refuse what somebody else has changed meanwhile as well."""
        present = Employee.objects.select_for_update(of=("self",)).get(pk=self.instance.pk)
        for name in [name for name in self.fields if name in given]:
            if name not in self.changed_data:
                given[name] = getattr(present, name)
            elif given[name] != getattr(present, name) and self._is_overtaken(name, present):
                self.add_error(name, _overtaken(present, name))

    def _is_overtaken(self, name: str, present: Employee) -> bool:
        """Tell whether the page showed another value; from now on it shows the present one, so that one may insist."""
        shown = self.data.get(self._shown_as(name))
        value = model_to_dict(present, [name])[name]
        now = "" if value is None else str(value)
        if shown is None or shown.strip() == now.strip():
            return False
        self.data = self.data.copy()  # type: ignore[attr-defined]
        self.data[self._shown_as(name)] = now  # type: ignore[index]
        return True

    @property
    def given(self) -> dict[str, Any]:
        return {name: self.cleaned_data[name] for name in self.changed_data}


def _overtaken(present: Employee, name: str) -> str:
    value = present.get_role_display() if name == "role" else getattr(present, name)
    text = _(
        "Somebody else changed this meanwhile: now it is “%s”. Nothing was saved; save again to put yours instead."
    )
    return str(text) % (value or "—")


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
