import re
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from functools import cache
from typing import Any

from django.db import IntegrityError, transaction
from django.http import QueryDict
from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers
from rest_framework.exceptions import NotFound, PermissionDenied

from config.lib.http.errors import AlreadyExists
from config.postgres.base import without_standby
from employees import max_id_claims
from employees.accounts import CURATORS_BY_SUPERADMIN, UserScope, user_scope
from employees.credentials.authentication import may_view
from employees.models import (
    KPP_WITHOUT_INN,
    PHONE_TAKEN,
    UNIVERSITY_NOT_FOUND,
    AmbiguousUniversity,
    Employee,
    EmployeeQuerySet,
    MaxIdJob,
    Role,
    University,
    validate_inn,
    validate_kpp,
    validate_visible,
)
from employees.naming import create_employee, update_employee
from profiles import phones
from profiles.api.serializers import NameField, UserIdField, WholeNumberField, checked_text
from profiles.lookup import resolve
from profiles.models import ProfileSource

_ID = re.compile(r"[0-9]{1,18}")
_UNIVERSITY_EXISTS = gettext_lazy("This university already exists.")


@contextmanager
def _unique(constraint: str, field: str, message: Promise) -> Iterator[None]:
    """Convert a violation of this unique constraint to a 409 error with ``message`` for ``field``."""
    try:
        yield
    except IntegrityError as error:
        if constraint not in str(error):
            raise
        raise AlreadyExists({field: [str(message)]}) from None


@contextmanager
def _unambiguous() -> Iterator[None]:
    """Convert AmbiguousUniversity to a ValidationError for the field that it names."""
    try:
        yield
    except AmbiguousUniversity as error:
        several = _("Several universities have this name. Provide university_id, or inn and kpp.")
        message = several if error.field == "university_name" else str(error)
        raise serializers.ValidationError({error.field: [message]}) from None


@extend_schema_field({"type": "string", "pattern": phones.PATTERN, "example": "+79161234567"})
class PhoneField(serializers.CharField):
    def to_internal_value(self, data: Any) -> str:
        try:
            return phones.normalize(checked_text(data))
        except ValueError as error:
            raise serializers.ValidationError(str(error)) from None


class TextField(serializers.CharField):
    """Accept only strings; REST framework's own field would also accept numbers."""

    def to_internal_value(self, data: Any) -> str:
        return super().to_internal_value(checked_text(data))


def created(serializer: Any, row: Any) -> dict[str, Any]:
    """Return the response for a new row: the row or, without the permission to view it, its ID and the values sent."""
    if may_view(serializer.context["view"], serializer.context["request"].user):
        whole: dict[str, Any] = serializer.to_representation(row)
        return whole
    return {"id": row.pk} | _sent(serializer)


def repeated(serializer: Any, answer: Any) -> Any:
    """Return the response to a repeated request to create a row: the stored response to the first request.

    If the user may no longer view the row, return its ID and the values sent. If the request itself would be refused
    now, for example because of its university, return only the ID.
    """
    ids, user = serializer.scope.university_ids(), serializer.context["request"].user
    if may_view(serializer.context["view"], user) and (ids is None or answer.get("university_id") in ids):
        return answer
    try:
        return {"id": answer["id"]} | (_sent(serializer) if serializer.is_valid() else {})
    except PermissionDenied:
        # The request would grant a role that the user may no longer grant.
        return {"id": answer["id"]}


def _sent(serializer: Any) -> dict[str, Any]:
    values, sent = serializer.validated_data, dict[str, Any]()
    for name, field in serializer.fields.items():
        if name in serializer.initial_data and not field.read_only and values.get(field.source):
            sent[name] = field.to_representation(values[field.source])
    return sent


class UniversitySerializer(serializers.ModelSerializer[University]):
    class Meta:
        model = University
        fields = ("id", "name", "inn", "kpp", "created_at", "updated_at")
        # Duplicates get 409 from the constraints, because two simultaneous creates would both pass a validator.
        validators: list[Any] = []

    name = TextField(max_length=500, validators=[validate_visible])
    inn = serializers.CharField(validators=[validate_inn], required=False, allow_blank=True)
    kpp = serializers.CharField(validators=[validate_kpp], required=False, allow_blank=True)

    def create(self, validated_data: dict[str, Any]) -> University:
        numbers = {name: validated_data.get(name, "") for name in ("inn", "kpp")}
        if University.objects.is_known(**numbers, university_name=validated_data["name"]):
            raise AlreadyExists({"inn": [str(_UNIVERSITY_EXISTS)]})
        with _unique("universities_", "inn", _UNIVERSITY_EXISTS), transaction.atomic():
            return University.objects.create(**validated_data)


@extend_schema_field({"type": "integer", "format": "int64", "minimum": 1, "maximum": 10**18 - 1})
class VisibleUniversityField(serializers.PrimaryKeyRelatedField[University]):
    """Accept a university within the user's scope; report any other as nonexistent."""

    def to_internal_value(self, data: Any) -> University:
        # REST framework would read 1.5 as 1, and fail on numbers above 64 bits.
        if not (isinstance(data, int | str) and _ID.fullmatch(str(data))):
            self.fail("incorrect_type", data_type=type(data).__name__)
        university = user_scope(self.context["request"].user).university(int(data))
        if university is None:
            self.fail("does_not_exist", pk_value=data)
        return university


class EmployeeSerializer(serializers.ModelSerializer[Employee]):
    phone = PhoneField()
    first_name = NameField()
    last_name = NameField()
    middle_name = NameField()
    max_id = UserIdField(required=False, allow_null=True, allow_blank=True)
    role = serializers.ChoiceField(choices=Role.choices, required=False, allow_blank=True)
    university_id = VisibleUniversityField(queryset=University.objects.all(), source="university", required=False)
    university = UniversitySerializer(read_only=True)
    inn = serializers.CharField(validators=[validate_inn], write_only=True, required=False, allow_blank=True)
    kpp = serializers.CharField(validators=[validate_kpp], write_only=True, required=False, allow_blank=True)
    university_name = TextField(
        write_only=True, required=False, allow_blank=True, max_length=500, validators=[validate_visible]
    )

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

    def get_fields(self) -> dict[str, Any]:
        if not hasattr(self, "initial_data"):
            return super().get_fields()
        # For a request body, building all fields would take twice as long as checking it.
        return {name: deepcopy(field) for name, field in _for_requests().items()}

    def to_representation(self, instance: Employee) -> dict[str, Any]:
        # Building the fields, which do not depend on the request, would take a fifth of the time of a GET.
        return super(EmployeeSerializer, _for_responses()).to_representation(instance)

    @property
    def scope(self) -> UserScope:
        return user_scope(self.context["request"].user)

    def validate_role(self, role: str) -> str:
        if not self.scope.may_grant(role) and (self.instance is None or self.instance.role != role):
            raise PermissionDenied(CURATORS_BY_SUPERADMIN)
        return role

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """Find the university by its ID, or by INN, KPP and name; raise ValidationError if it is missing or not found.

        Users who may add universities may describe a new one, which is created after the validation. Users who are
        limited to a university may leave it out.
        """
        described = {name: attrs.pop(name, "") for name in ("inn", "kpp", "university_name")}
        if "university" in attrs:
            return attrs
        if described["inn"] or described["university_name"]:
            with _unambiguous():
                university = self.scope.universities().find(**described)
            if university is None and self.scope.sees_all and self._may_add_universities():
                return attrs | {"described": described}
            field, message = ("inn" if described["inn"] else "university_name"), str(UNIVERSITY_NOT_FOUND)
        elif self.instance is None:
            university = None if self.scope.sees_all else self.scope.universities().first()
            field, message = "university_id", _("Provide university_id, inn or university_name.")
        elif described["kpp"]:
            university = self.instance.university
        else:
            return attrs
        if university is None:
            raise serializers.ValidationError({field: [message]})
        if described["kpp"] not in ("", university.kpp):
            raise serializers.ValidationError({"kpp": [KPP_WITHOUT_INN]})
        return attrs | {"university": university}

    def _may_add_universities(self) -> bool:
        """Return whether the request's API key may add universities; True for a request without a key."""
        user: Any = self.context["request"].user
        return "employees.add_university" in getattr(user, "key_permissions", {"employees.add_university"})

    def create(self, validated_data: dict[str, Any]) -> Employee:
        """Look up the name, then insert the employee.

        If several requests create an employee with the same phone at the same time, all but one get 409.
        """
        idempotent_request = validated_data.pop("idempotent_request", None)
        if described := validated_data.pop("described", None):
            # The name lookup needs the university. Check the phone first, because a refused request must not
            # create a university.
            if Employee.objects.filter(phone=validated_data["phone"]).exists():
                raise AlreadyExists({"phone": [str(PHONE_TAKEN)]})
            # A standby that confirms the employee confirms the university too.
            with _unambiguous(), without_standby():
                validated_data["university"] = University.objects.described(**described)
        max_id = validated_data.pop("max_id", None) or None
        ids = {"phone": validated_data["phone"], "university_id": validated_data["university"].pk}
        has_claimed_id = max_id is not None and not self.scope.sees_all
        name = resolve(
            **ids,
            max_id=max_id,
            first_name=validated_data.pop("first_name", ""),
            last_name=validated_data.pop("last_name", ""),
            is_claimed=has_claimed_id and max_id_claims.is_of_others(str(max_id), **ids),
        )
        with _unique("employees_phone_unique", "phone", PHONE_TAKEN), transaction.atomic():
            employee = create_employee(name, has_claimed_id=has_claimed_id, **validated_data)
            if idempotent_request is not None:
                # In the same transaction, so that no employee exists without the stored response.
                idempotent_request.store_answer(created(self, employee))
        return employee

    def update(self, instance: Employee, validated_data: dict[str, Any]) -> Employee:
        """Update the given fields while holding the row lock; an empty name or MAX ID leaves its field unchanged."""
        described = validated_data.pop("described", None)
        with _unique("employees_phone_unique", "phone", PHONE_TAKEN), transaction.atomic():
            employee = Employee.objects.select_for_update(of=("self",)).filter(pk=instance.pk).first()
            if employee is None:
                raise NotFound
            if described:
                with _unambiguous():
                    validated_data["university"] = University.objects.described(**described)
            update_employee(employee, validated_data, is_limited=not self.scope.sees_all)
        return employee


@cache
def _for_responses() -> EmployeeSerializer:
    return EmployeeSerializer()


@cache
def _for_requests() -> dict[str, serializers.Field[Any, Any, Any, Any]]:
    return {name: field for name, field in EmployeeSerializer().get_fields().items() if not field.read_only}


class MaxIdJobSerializer(serializers.ModelSerializer[MaxIdJob]):
    class Meta:
        model = MaxIdJob
        fields = ("id", "status", "total", "done", "failed", "created_at", "finished_at")
        read_only_fields = fields


# Each ordering has an index on exactly its columns, which PostgreSQL can read in both directions; without it, each page
# would sort a million rows.
ORDERINGS = {
    "id": ("id",),
    "phone": ("phone",),
    "last_name": ("last_name", "first_name", "id"),
    "created_at": ("created_at", "id"),
}
# A request selects an ordering by all or only the first of its columns.
_COLUMNS = {
    ",".join(sign + column for column in columns[:length]): [sign + column for column in columns]
    for columns in ORDERINGS.values()
    for sign in ("", "-")
    for length in range(1, len(columns) + 1)
}
_MAX_SEARCH = 200


class EmployeeQuerySerializer(serializers.Serializer[Any]):
    search = serializers.CharField(
        required=False,
        max_length=_MAX_SEARCH,
        help_text="words of a name, or a phone; words under three characters match at the start of a word",
    )
    query = serializers.CharField(required=False, max_length=_MAX_SEARCH, help_text="alias of search")
    q = serializers.CharField(required=False, max_length=_MAX_SEARCH, help_text="alias of search")
    university_id = WholeNumberField(required=False, min_value=1, max_value=2**63 - 1)
    profile_source = serializers.ChoiceField(ProfileSource.choices, required=False)
    role = serializers.ChoiceField(Role.choices, required=False)
    ordering = serializers.ChoiceField(
        list(_COLUMNS), required=False, help_text="the field to order by, with - for descending"
    )
    sort_by = serializers.ChoiceField(list(_COLUMNS), required=False, help_text="alias of ordering")
    sort_order = serializers.ChoiceField(
        ["asc", "desc"], required=False, help_text="the direction, whatever the sign in ordering; alone, that of id"
    )


def search_text(params: QueryDict) -> str:
    return next(iter(_searches(params).values()), "")


def _searches(params: QueryDict) -> dict[str, str]:
    texts = {name: params.get(name, "").strip() for name in ("search", "query", "q")}
    return {name: text for name, text in texts.items() if text}


def _ordered_columns(valid: dict[str, Any]) -> list[str]:
    columns = _COLUMNS[valid.get("ordering") or valid.get("sort_by") or "id"]
    if "sort_order" not in valid:
        return columns
    sign = "-" if valid["sort_order"] == "desc" else ""
    return [sign + column.removeprefix("-") for column in columns]


def filter_employees(employees: EmployeeQuerySet, params: QueryDict) -> EmployeeQuerySet:
    """Search, filter and order the employees by the query parameters; an empty parameter counts as absent.

    Of ``search``, ``query`` and ``q``, the first that is not empty is used. Raise ValidationError for invalid values.
    """
    names = ("university_id", "profile_source", "role", "ordering", "sort_by", "sort_order")
    searches = _searches(params)
    query = EmployeeQuerySerializer(data=searches | {name: params[name] for name in names if params.get(name)})
    query.is_valid(raise_exception=True)
    valid = query.validated_data
    employees = employees.filter(**{name: valid[name] for name in ("profile_source", "role") if name in valid})
    if "university_id" in valid:
        employees = employees.of_university(valid["university_id"])
    if searches:
        employees = employees.matching(search_text(params))
    is_ordered = not valid.keys().isdisjoint(("ordering", "sort_by", "sort_order"))
    return employees.order_by(*_ordered_columns(valid)) if is_ordered else employees
