"""The file formats of the admin's export and import, and the forms of the import."""

from typing import Any

from django import forms
from django.utils.formats import number_format
from django.utils.translation import gettext as _
from import_export.formats import base_formats
from import_export.forms import ConfirmImportForm
from tablib import Dataset
from unfold.contrib.import_export.forms import ImportForm

from config.lib.http.error_pages import LARGEST_BODY
from employees.import_export.tables import read

# Excel reads a CSV file as UTF-8 only if it begins with this mark.
BYTE_ORDER_MARK = "\ufeff"
# This many rows take half a minute; the browser and the proxy do not wait longer for a response.
MAX_ROWS = 10_000


class CSV(base_formats.CSV):
    """Export CSV with a byte order mark, so that Excel reads it as UTF-8."""

    CONTENT_TYPE = "text/csv; charset=utf-8"

    def export_data(self, dataset: Any, **kwargs: Any) -> bytes:
        return f"{BYTE_ORDER_MARK}{super().export_data(dataset, **kwargs)}".encode()


EXPORTED = [CSV, base_formats.XLSX]


class AnyFormat(base_formats.XLSX):
    """Read a workbook or a CSV file; the format is detected from the content."""

    def create_dataset(self, in_stream: Any) -> Dataset:
        return read(in_stream, max_rows=MAX_ROWS)


def _only_choice() -> forms.CharField:
    """Return a hidden field whose value is 0, the index of the only choice, whatever is submitted."""
    return forms.CharField(required=False, disabled=True, initial="0", widget=forms.HiddenInput)


class FileForm(ImportForm):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        limits = {"rows": number_format(MAX_ROWS, force_grouping=True), "mb": LARGEST_BODY // 1024**2}
        self.fields["import_file"].help_text = _("CSV or XLSX, up to %(rows)s rows and %(mb)d MB") % limits
        self.fields["import_file"].widget.attrs["accept"] = ".csv,.xlsx"
        self.fields["format"] = _only_choice()


class ConfirmForm(ConfirmImportForm):
    """Validate the hidden fields of the preview page, which a user may have altered."""

    format, resource = _only_choice(), _only_choice()
