"""Forms that were opened before someone else saved the same row: only the fields that the user changed are saved.

The page sends back the values that it showed. A field counts as changed if the user's value differs from the shown one.
If someone else has changed the same field in the meantime, the form is refused; if the user saves it once more, the
user's value is stored.
"""

import json
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib.admin.utils import display_for_field
from django.db.models import Model
from django.utils.translation import gettext as _

if TYPE_CHECKING:
    _Form = forms.ModelForm[Any]
else:
    _Form = forms.ModelForm


class ShownValues(forms.HiddenInput):
    """A hidden input with the originally shown value of a field that has several inputs or choices.

    If no option of a multiple-choice field is selected, browsers send nothing for the field; this input is always sent.
    """

    def __init__(self, visible: forms.Widget) -> None:
        super().__init__()
        self.visible = visible

    def format_value(self, value: Any) -> str:
        if isinstance(self.visible, forms.MultiWidget) and not isinstance(value, list):
            parts = zip(self.visible.widgets, self.visible.decompress(value) or (), strict=True)
            value = [widget.format_value(part) for widget, part in parts]
        return json.dumps([str("" if item is None else getattr(item, "pk", item)) for item in value or []])

    def value_from_datadict(self, data: Any, files: Any, name: str) -> list[str]:
        try:
            values = json.loads(data.get(name) or "[]")
        except ValueError:
            return []
        return [str(value) for value in values] if isinstance(values, list) else []


class MergingForm(_Form):
    """Save only the fields that the user changed.

    A field counts as changed if it differs from the value that the page showed, or, if the request does not contain
    that value, from the value in the database.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.instance._state.adding:  # noqa: SLF001 (documented by Django)
            return
        for name, field in self._merged_fields():
            field.show_hidden_initial = not self.is_bound or self.add_initial_prefix(self.add_prefix(name)) in self.data
            if isinstance(field.widget, forms.MultiWidget) or isinstance(field, forms.ModelMultipleChoiceField):
                field.hidden_widget = partial(ShownValues, field.widget)  # type: ignore[assignment]

    def _merged_fields(self) -> list[tuple[str, forms.Field]]:
        """Return pairs of name and field for the form's fields that are columns of the model and can be edited.

        The hash of a password is not among them.
        """
        opts = self._meta.model._meta  # noqa: SLF001 (documented by Django)
        stored = {field.name for field in (*opts.concrete_fields, *opts.many_to_many)}
        return [(name, field) for name, field in self.fields.items() if name in stored and not field.disabled]

    def _clean_form(self) -> None:
        # Before clean(), so that it checks the values that will be saved.
        if not self.instance._state.adding:  # noqa: SLF001 (documented by Django)
            self._merge()
        super()._clean_form()  # type: ignore[misc]

    def _merge(self) -> None:
        """Keep the stored values of the fields that the user did not change.

        Add an error to each field that the user changed, but that someone else has changed in the meantime.
        """
        rows = self._meta.model._base_manager  # noqa: SLF001 (documented by Django)
        present = rows.select_for_update(of=("self",)).filter(pk=self.instance.pk).first()
        if present is None:
            self.add_error(None, _("Someone else has deleted this record in the meantime. Nothing was saved."))
            return
        merged = dict(self._merged_fields())
        for name in merged.keys() & self.cleaned_data.keys():
            value = _stored(present, name)
            if name not in self.changed_data:
                self.cleaned_data[name] = value
            elif _comparable(self.cleaned_data[name]) != _comparable(value) and self._is_overtaken(name, value):
                text = _(
                    "Someone else has changed this field to “%s”. Nothing was saved. Save again to use your value."
                )
                self.add_error(name, text % _displayed(present, name, value))
        for column in present._meta.concrete_fields:  # noqa: SLF001 (documented by Django)
            if column.name not in merged:
                setattr(self.instance, column.attname, getattr(present, column.attname))

    def _is_overtaken(self, name: str, value: Any) -> bool:
        """Return whether the value in the database differs from the value that the page showed.

        If so, note the database's value in the form as the shown value: when the form is shown again and the user
        saves it once more, the change is accepted.
        """
        bound = self[name]
        if not bound.field.show_hidden_initial:
            return False
        widget = bound.field.hidden_widget()
        value = value.replace(microsecond=0) if isinstance(value, datetime) else value
        if not bound.field.has_changed(
            value, widget.value_from_datadict(self.data, self.files, bound.html_initial_name)
        ):
            return False
        self.data = self.data.copy()  # type: ignore[attr-defined]
        self.data[bound.html_initial_name] = widget.format_value(bound.field.prepare_value(value)) or ""  # type: ignore[index]
        return True


def _stored(row: Model, name: str) -> Any:
    """Return a field's stored value, comparable with ``cleaned_data``: for a many-to-many field, a list of rows."""
    value = getattr(row, name)
    return list(value.all()) if hasattr(value, "all") else value


def _comparable(value: Any) -> Any:
    return {item.pk for item in value} if hasattr(value, "__iter__") and not isinstance(value, str) else value


def _displayed(row: Model, name: str, value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "—"
    if isinstance(value, bool):
        return _("yes") if value else _("no")
    field: Any = row._meta.get_field(name)  # noqa: SLF001 (documented by Django)
    return str(display_for_field(value, field, "—") or "—")
