from __future__ import annotations

from typing import Any

from django.db import IntegrityError, transaction
from django.utils import timezone
from rest_framework import serializers

from config.errors import AlreadyExists
from employees.models import Employee, Role, University
from profiles import phones
from profiles.resolver import resolve
from profiles.serializers import NameField, UserIdField


class PhoneField(serializers.CharField):
    def to_internal_value(self, data: Any) -> str:
        try:
            return phones.normalize(super().to_internal_value(data))
        except ValueError as error:
            raise serializers.ValidationError(str(error)) from None


class UniversitySerializer(serializers.ModelSerializer[University]):
    class Meta:
        model = University
        fields = ("id", "name", "inn", "kpp", "created_at", "updated_at")


class EmployeeSerializer(serializers.ModelSerializer[Employee]):
    phone = PhoneField()
    first_name = NameField()
    last_name = NameField()
    middle_name = NameField()
    max_id = UserIdField(required=False, allow_null=True, allow_blank=True)
    role = serializers.ChoiceField(choices=Role.choices, required=False, allow_blank=True)
    university_id = serializers.PrimaryKeyRelatedField(
        queryset=University.objects.all(), source="university", required=False
    )
    university = UniversitySerializer(read_only=True)
    inn = serializers.RegexField(r"^(\d{10}|\d{12})?$", write_only=True, required=False, allow_blank=True)
    kpp = serializers.RegexField(r"^(\d{9})?$", write_only=True, required=False, allow_blank=True)
    university_name = serializers.CharField(write_only=True, required=False, allow_blank=True, max_length=500)

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

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        described = {name: attrs.pop(name, "") for name in ("inn", "kpp", "university_name")}
        if "university" not in attrs:
            if not described["inn"] and not described["university_name"]:
                raise serializers.ValidationError(
                    {"university_id": ["university_id, inn or university_name is required"]}
                )
            attrs["described_university"] = described
        return attrs

    def create(self, validated_data: dict[str, Any]) -> Employee:
        """Resolve the name, then insert; the unique phone decides between parallel creates (409)."""
        described = validated_data.pop("described_university", None)
        phone, max_id = validated_data["phone"], validated_data.pop("max_id", None) or None
        name = resolve(
            phone=phone,
            max_id=max_id,
            first_name=validated_data.pop("first_name", ""),
            last_name=validated_data.pop("last_name", ""),
            university_id=self._university_id(validated_data, described),
        )
        employee = Employee(
            **validated_data | {"middle_name": validated_data.get("middle_name") or name.middle_name},
            first_name=name.first_name,
            last_name=name.last_name,
            max_id=name.max_id,
            max_id_updated_at=timezone.now() if name.max_id else None,
            profile_source=name.source,
            profile_last_updated=name.updated_at,
        )
        try:
            with transaction.atomic():
                if described:
                    employee.university = University.objects.described(**described)
                employee.save(force_insert=True)
        except IntegrityError as error:
            if "employees_phone_unique" not in str(error):
                raise
            raise AlreadyExists({"phone": ["an employee with this phone already exists"]}) from None
        return employee

    def _university_id(self, validated_data: dict[str, Any], described: dict[str, str] | None) -> int | None:
        """Return the university by whose rules the rollout decides; a new one has none."""
        if described is None:
            return int(validated_data["university"].pk)
        return University.objects.known(**described)
