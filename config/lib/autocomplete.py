"""Autocompletion in the admin, without Django's errors for invalid values in a request."""

from typing import Any

from django.apps import apps
from django.contrib.admin.views import autocomplete
from django.contrib.admin.widgets import AutocompleteSelect, AutocompleteSelectMultiple
from django.core.exceptions import FieldDoesNotExist, PermissionDenied, ValidationError
from django.db.models import ForeignKey, ManyToManyField
from django.http import HttpRequest


class _ReadableValues:
    """Show no option for a value that cannot be a key of the related table; Django would raise an error."""

    field: Any

    def optgroups(self, name: str, value: Any, attr: Any = None) -> Any:
        relation = self.field.remote_field
        key = relation.model._meta.get_field(getattr(relation, "field_name", "") or relation.model._meta.pk.name)  # noqa: SLF001 (documented by Django)
        return super().optgroups(name, [each for each in value if _is_readable(each, key)], attr)  # type: ignore[misc]


def _is_readable(value: str, key: Any) -> bool:
    try:
        key.clean(value, None)
    except ValidationError:
        return False
    return True


class Select(_ReadableValues, AutocompleteSelect):
    pass


class SelectMultiple(_ReadableValues, AutocompleteSelectMultiple):
    pass


class JsonView(autocomplete.AutocompleteJsonView):
    def process_request(self, request: HttpRequest) -> Any:
        """Raise PermissionDenied unless the field is a forward relation of its model; a reverse relation is refused."""
        try:
            model = apps.get_model(request.GET["app_label"], request.GET["model_name"])
            field = model._meta.get_field(request.GET["field_name"])  # noqa: SLF001 (documented by Django)
        except (KeyError, LookupError, FieldDoesNotExist):
            raise PermissionDenied from None
        if not isinstance(field, ForeignKey | ManyToManyField):
            raise PermissionDenied
        return super().process_request(request)  # type: ignore[misc]
