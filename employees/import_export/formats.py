"""The formats that the admin offers, and the forms of its import."""

from typing import Any

from django import forms
from django.utils.formats import number_format
from django.utils.translation import gettext as _
from import_export.formats import base_formats
from import_export.forms import ConfirmImportForm
from tablib import Dataset
from unfold.contrib.import_export.forms import ImportForm

from config.lib.error_pages import LARGEST_BODY
from employees.import_export.tables import read_csv, read_xlsx

# Excel reads a CSV file as UTF-8 only if it begins with this mark.
BYTE_ORDER_MARK = "\ufeff"
# This many rows take half a minute; the browser and the proxy do not wait longer for a response.
MAX_ROWS = 10_000


class CSV(base_formats.CSV):
    """Handle CSV as bytes: read_csv() decodes them, and exports begin with a byte order mark."""

    CONTENT_TYPE = "text/csv; charset=utf-8"

    def is_binary(self) -> bool:
        return True

    def get_read_mode(self) -> str:
        return "rb"

    def create_dataset(self, in_stream: Any, **kwargs: Any) -> Dataset:
        return read_csv(in_stream, max_rows=MAX_ROWS)

    def export_data(self, dataset: Any, **kwargs: Any) -> bytes:
        return f"{BYTE_ORDER_MARK}{super().export_data(dataset, **kwargs)}".encode()


class XLSX(base_formats.XLSX):
    def create_dataset(self, in_stream: Any) -> Dataset:
        return read_xlsx(in_stream, max_rows=MAX_ROWS)


FORMATS = [CSV, XLSX]


class FileForm(ImportForm):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        limits = {"rows": number_format(MAX_ROWS, force_grouping=True), "mb": LARGEST_BODY // 1024**2}
        self.fields["import_file"].help_text = _("Up to %(rows)s rows and %(mb)d MB") % limits


class ConfirmForm(ConfirmImportForm):
    """Validate the hidden fields of the preview page, which a user may have altered."""

    format = forms.ChoiceField(choices=[(str(number), "") for number in range(len(FORMATS))], widget=forms.HiddenInput)

    def clean_resource(self) -> str:
        """Return the index of the only resource, whatever was submitted."""
        return "0"
