from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import QuerySet
from django.utils.translation import gettext as _
from rest_framework import serializers
from rest_framework.exceptions import NotFound, PermissionDenied

from config.lib.errors import AlreadyExists
from employees.accounts import UserScope, user_scope
from employees.models import Employee, MaxIdJob, Role, University
from employees.naming import create_employee, update_employee
from employees.tax_numbers import INN, KPP
from profiles import phones
from profiles.api.serializers import NameField, UserIdField, checked_text
from profiles.lookup import resolve

_ID = re.compile(r"[0-9]{1,18}")
_DESCRIPTION = ("inn", "kpp", "university_name")


class PhoneField(serializers.CharField):
    def to_internal_value(self, data: Any) -> str:
        try:
            return phones.normalize(checked_text(data))
        except ValueError as error:
            raise serializers.ValidationError(str(error)) from None


class TextField(serializers.CharField):
    """Text, and not a number for its digits."""

    def to_internal_value(self, data: Any) -> str:
        return super().to_internal_value(checked_text(data))


class UniversitySerializer(serializers.ModelSerializer[University]):
    class Meta:
        model = University
        fields = ("id", "name", "inn", "kpp", "created_at", "updated_at")
        # The constraints answer, as 409: two creates at once both pass a look beforehand.
        validators: list[Any] = []

    name = TextField(max_length=500)
    inn = serializers.RegexField(INN, required=False, allow_blank=True)
    kpp = serializers.RegexField(KPP, required=False, allow_blank=True)

    def create(self, validated_data: dict[str, Any]) -> University:
        with _unique("universities_", {"inn": [_("this university exists")]}), transaction.atomic():
            return University.objects.create(**validated_data)


class SeenUniversityField(serializers.PrimaryKeyRelatedField[University]):
    """A university that the user may see; any other is as unknown as one that does not exist."""

    def to_internal_value(self, data: Any) -> University:
        # REST framework would take 1.5 for 1, and fail on what is no 64-bit integer.
        if not (isinstance(data, int | str) and _ID.fullmatch(str(data))):
            self.fail("incorrect_type", data_type=type(data).__name__)
        return super().to_internal_value(data)  # type: ignore[arg-type]

    def get_queryset(self) -> QuerySet[University]:
        return user_scope(self.context["request"].user).universities()


class EmployeeSerializer(serializers.ModelSerializer[Employee]):
    phone = PhoneField()
    first_name = NameField()
    last_name = NameField()
    middle_name = NameField()
    max_id = UserIdField(required=False, allow_null=True, allow_blank=True)
    role = serializers.ChoiceField(choices=Role.choices, required=False, allow_blank=True)
    university_id = SeenUniversityField(queryset=University.objects.all(), source="university", required=False)
    university = UniversitySerializer(read_only=True)
    inn = serializers.RegexField(INN, write_only=True, required=False, allow_blank=True)
    kpp = serializers.RegexField(KPP, write_only=True, required=False, allow_blank=True)
    university_name = TextField(write_only=True, required=False, allow_blank=True, max_length=500)

    class Meta:
        model = Employee
        fields = (
            "id",
            "phone",
            "first_name",
            "last_name",
            "middle_name",
            "max_id",
            "max_id_updated_at",
            "role",
            "university_id",
            "university",
            "inn",
            "kpp",
            "university_name",
            "profile_source",
            "profile_last_updated",
            "created_at",
            "updated_at",
        )
        read_only_fields = ("max_id_updated_at", "profile_source", "profile_last_updated")

    @property
    def scope(self) -> UserScope:
        return user_scope(self.context["request"].user)

    def validate_role(self, role: str) -> str:
        if not self.scope.may_grant(role) and (self.instance is None or self.instance.role != role):
            raise PermissionDenied(_("only a superadmin makes curators"))
        return role

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        described = {name: attrs.pop(name, "") for name in _DESCRIPTION}
        if "university" in attrs:
            return attrs
        if described["inn"] or described["university_name"]:
            attrs["described"] = described
            if not self.scope.sees_all:
                attrs["university"] = self._seen(attrs.pop("described"))
        elif self.instance is None:
            attrs["university"] = self._own()
        return attrs

    def _seen(self, described: dict[str, str]) -> University:
        university = (self.scope.universities() & University.objects.as_described(**described)).first()
        if university is None:
            field = "inn" if described["inn"] else "university_name"
            raise serializers.ValidationError({field: [_("there is no such university")]})
        return university

    def _own(self) -> University:
        own = None if self.scope.sees_all else self.scope.universities().first()
        if own is None:
            raise serializers.ValidationError(
                {"university_id": [_("university_id, inn or university_name is required")]}
            )
        return own

    def create(self, validated_data: dict[str, Any]) -> Employee:
        """Resolve the name, then insert; the unique phone decides between parallel creates (409)."""
        answered = validated_data.pop("answered", None)
        if described := validated_data.pop("described", None):
            # The lookup decides by the university's rules, and a 409 should leave no new university behind.
            if Employee.objects.filter(phone=validated_data["phone"]).exists():
                raise AlreadyExists(_phone_taken())
            validated_data["university"] = University.objects.described(**described)
        name = resolve(
            phone=validated_data["phone"],
            max_id=validated_data.pop("max_id", None) or None,
            first_name=validated_data.pop("first_name", ""),
            last_name=validated_data.pop("last_name", ""),
            university_id=validated_data["university"].pk,
        )
        with _unique_phone(), transaction.atomic():
            employee = create_employee(name, **validated_data)
            if answered is not None:
                # In the same transaction: an employee without the remembered answer cannot be.
                answered(self.to_representation(employee))
        return employee

    def update(self, instance: Employee, validated_data: dict[str, Any]) -> Employee:
        """Change what was given, under the row's lock; an empty name or MAX id changes nothing."""
        described = validated_data.pop("described", None)
        with _unique_phone(), transaction.atomic():
            employee = Employee.objects.select_for_update(of=("self",)).filter(pk=instance.pk).first()
            if employee is None:
                raise NotFound
            if described:
                validated_data["university"] = University.objects.described(**described)
            update_employee(employee, validated_data)
        return employee


class MaxIdJobSerializer(serializers.ModelSerializer[MaxIdJob]):
    class Meta:
        model = MaxIdJob
        fields = ("id", "status", "total", "done", "failed", "created_at", "finished_at")
        read_only_fields = fields


@contextmanager
def _unique(constraint: str, details: dict[str, list[str]]) -> Iterator[None]:
    """Turn a violation of the unique constraint into 409."""
    try:
        yield
    except IntegrityError as error:
        if constraint not in str(error):
            raise
        raise AlreadyExists(details) from None


def _unique_phone() -> AbstractContextManager[None]:
    return _unique("employees_phone_unique", _phone_taken())


def _phone_taken() -> dict[str, list[str]]:
    return {"phone": [_("an employee with this phone already exists")]}
