from typing import Any

from django import forms
from django.utils.translation import gettext as _
from import_export.formats import base_formats
from import_export.forms import ConfirmImportForm
from tablib import Dataset

from employees import spreadsheets


class CSV(base_formats.CSV):
    """Bytes in and out: the reader finds the encoding, and a spreadsheet finds the mark of UTF-8."""

    CONTENT_TYPE = "text/csv; charset=utf-8"

    def is_binary(self) -> bool:
        return True

    def get_read_mode(self) -> str:
        return "rb"

    def create_dataset(self, in_stream: Any, **kwargs: Any) -> Dataset:
        return spreadsheets.read_csv(in_stream)

    def export_data(self, dataset: Any, **kwargs: Any) -> bytes:
        return f"{spreadsheets.MARK}{super().export_data(dataset, **kwargs)}".encode()


class XLSX(base_formats.XLSX):
    def create_dataset(self, in_stream: Any) -> Dataset:
        return spreadsheets.read_xlsx(in_stream)


FORMATS = [CSV, XLSX]


class ConfirmForm(ConfirmImportForm):
    """What the preview left in hidden fields, and anybody may have altered since."""

    def clean_format(self) -> str:
        number: str = self.cleaned_data["format"]
        if number not in map(str, range(len(FORMATS))):
            raise forms.ValidationError(_("there is no such format: choose the file once more"))
        return number

    def clean_resource(self) -> str:
        """Return the number of the only resource, whatever came."""
        return "0"
