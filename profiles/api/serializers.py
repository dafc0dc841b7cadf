import re
from typing import Any

from django.utils.translation import gettext_lazy as _
from drf_spectacular.extensions import OpenApiSerializerFieldExtension
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from profiles import names, user_ids


def checked_text(data: Any) -> str:
    """Return the string; raise ValidationError for any other type, because REST framework would also accept numbers."""
    if not isinstance(data, str):
        raise serializers.ValidationError(_("Not a valid string."))
    return data


class WholeNumberField(serializers.IntegerField):
    """Accept an integer in ASCII digits; REST framework's field would also accept “５”, “+5”, “ 5 ” and “5.0”."""

    def to_internal_value(self, data: Any) -> int:
        if not (isinstance(data, int | str) and re.fullmatch("-?[0-9]{1,19}", str(data))):
            self.fail("invalid")
        return super().to_internal_value(data)


USER_ID = {"type": "string", "maxLength": 64, "pattern": user_ids.PATTERN}


class UserIdField(serializers.CharField):
    def __init__(self, **kwargs: Any) -> None:
        super().__init__(max_length=64, **kwargs)

    def to_internal_value(self, data: Any) -> str:
        """Return the ID; accept an invalid ID only if the row to be changed already has it, from an earlier release."""
        if isinstance(data, str) and data == getattr(getattr(self.parent, "instance", None), str(self.source), None):
            return data
        try:
            return user_ids.typed(data) if isinstance(data, str) else user_ids.user_id_of(data)
        except ValueError as error:
            raise serializers.ValidationError(str(error)) from None


class NameField(serializers.CharField):
    def __init__(self, **kwargs: Any) -> None:
        super().__init__(allow_blank=True, required=False, trim_whitespace=False, **kwargs)

    def run_validation(self, data: Any = serializers.empty) -> Any:
        if data is serializers.empty or data is None:
            return super().run_validation(data)
        return super().run_validation(names.clean(checked_text(data)))


@extend_schema_field({"type": "string", "maxLength": names.NAME_LENGTH, "pattern": names.USER_PROVIDED})
class OwnNameField(serializers.CharField):
    """Accept a user-provided name. With ``allow_blank``, an empty string clears it; white space alone is refused."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(trim_whitespace=False, **kwargs)

    def to_internal_value(self, data: Any) -> str:
        try:
            return names.user_provided(checked_text(data))
        except ValueError as error:
            raise serializers.ValidationError(str(error)) from None


class UserIdSchema(OpenApiSerializerFieldExtension):  # type: ignore[no-untyped-call]
    """Describe an ID in OpenAPI: a string in responses; in requests also an integer or, if ``allow_blank``, ``""``."""

    target_class = UserIdField

    def map_serializer_field(self, auto_schema: Any, direction: str) -> dict[str, Any]:
        if direction == "response":
            return {"type": "string"}
        text = USER_ID | {"pattern": user_ids.TYPED}
        number = {"type": "integer", "format": "int64", "minimum": 1, "maximum": 2**63 - 1}
        empty = [{"type": "string", "maxLength": 0}] if self.target.allow_blank else []
        return {"anyOf": [text, number, *empty]}


class ProfileSerializer(serializers.Serializer[Any]):
    user_id = serializers.CharField()
    max_first_name = serializers.CharField()
    max_last_name = serializers.CharField()
    user_provided_name = serializers.CharField()
    display_name = serializers.CharField()
    has_full_name = serializers.BooleanField()
    source = serializers.CharField()  # type: ignore[assignment]
    last_updated = serializers.DateTimeField(allow_null=True)


class ProfileStatsSerializer(serializers.Serializer[Any]):
    total_profiles = serializers.IntegerField()
    profiles_with_full_name = serializers.IntegerField()
    profiles_by_source = serializers.DictField(child=serializers.IntegerField())


class PartialErasureSerializer(serializers.Serializer[Any]):
    status = serializers.CharField()


class NameSerializer(serializers.Serializer[Any]):
    name = OwnNameField()


class ProfileChangeSerializer(serializers.Serializer[Any]):
    max_first_name = NameField()
    max_last_name = NameField()
    user_provided_name = OwnNameField(required=False, allow_blank=True)
