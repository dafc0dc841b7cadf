import re
import time
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

from django import forms
from django.conf import settings
from django.utils.translation import gettext as _
from import_export.formats import base_formats
from import_export.forms import ConfirmImportForm
from import_export.tmp_storages import BaseStorage
from tablib import Dataset
from unfold.contrib.import_export.forms import ImportForm

from config.lib.error_pages import LARGEST_BODY
from employees.import_export import spreadsheets

# Half a minute of work; a browser, and the proxy before us, wait no longer.
MOST_ROWS = 10_000
KEPT = timedelta(hours=1)
_NAME = re.compile(r"[0-9a-f]{32}")


class CSV(base_formats.CSV):
    """Bytes in and out: the reader finds the encoding, and a spreadsheet finds the mark of UTF-8."""

    CONTENT_TYPE = "text/csv; charset=utf-8"

    def is_binary(self) -> bool:
        return True

    def get_read_mode(self) -> str:
        return "rb"

    def create_dataset(self, in_stream: Any, **kwargs: Any) -> Dataset:
        return _bounded(spreadsheets.read_csv(in_stream))

    def export_data(self, dataset: Any, **kwargs: Any) -> bytes:
        return f"{spreadsheets.MARK}{super().export_data(dataset, **kwargs)}".encode()


class XLSX(base_formats.XLSX):
    def create_dataset(self, in_stream: Any) -> Dataset:
        return _bounded(spreadsheets.read_xlsx(in_stream))


def _bounded(table: Dataset) -> Dataset:
    if len(table) > MOST_ROWS:
        numbers = {"rows": len(table), "most": MOST_ROWS}
        text = _("the file has %(rows)d rows, more than %(most)d: split it, or have import_employees read it")
        raise spreadsheets.Unreadable(text % numbers)
    return table


FORMATS = [CSV, XLSX]


class Previews(BaseStorage):
    """The files between preview and import. They are names and phones: what nobody confirms goes after an hour."""

    def save(self, data: bytes) -> None:
        self._forget()
        self.name = uuid4().hex
        self._path().write_bytes(data)

    def read(self) -> bytes:
        return self._path().read_bytes()

    def remove(self) -> None:
        self._path().unlink()

    def _path(self) -> Path:
        """Return where the file is; FileNotFoundError for a name that is none of ours: it comes from a form."""
        if not _NAME.fullmatch(self.name):
            raise FileNotFoundError(self.name)
        return self._folder() / self.name

    def _folder(self) -> Path:
        folder: Path = settings.DATA_DIR / "imports"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return folder

    def _forget(self) -> None:
        oldest = time.time() - KEPT.total_seconds()
        for file in self._folder().iterdir():
            # Another process may be forgetting them too, or importing one.
            try:
                if file.stat().st_mtime < oldest:
                    file.unlink()
            except FileNotFoundError:
                continue


class FileForm(ImportForm):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        limits = {"rows": MOST_ROWS, "mb": LARGEST_BODY // 1024**2}
        self.fields["import_file"].help_text = _("at most %(rows)d rows, and %(mb)d MB") % limits


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
