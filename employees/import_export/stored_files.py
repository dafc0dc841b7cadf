"""Store uploaded files in the database between preview and import, because another web host may do the import."""

import re
from datetime import timedelta
from typing import ClassVar
from uuid import uuid4

from django.db import models
from django.db.models.functions import Now
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from import_export.tmp_storages import BaseStorage

PREVIEW_LIFETIME = timedelta(hours=1)
_NAME = re.compile(r"[0-9a-f]{32}")


class ImportFileQuerySet(models.QuerySet["ImportFile"]):
    def outdated(self) -> "ImportFileQuerySet":
        return self.filter(created_at__lt=Now() - PREVIEW_LIFETIME)


class ImportFile(models.Model):
    """A file that was uploaded and not yet imported. It contains personal data, so it is deleted after an hour."""

    name = models.CharField(max_length=32, primary_key=True)
    data = models.BinaryField()
    created_at = models.DateTimeField(default=timezone.now, db_index=True)

    objects: ClassVar[ImportFileQuerySet] = ImportFileQuerySet.as_manager()  # type: ignore[assignment]

    class Meta:
        app_label = "employees"
        db_table = "import_files"
        verbose_name = _("uploaded file")
        verbose_name_plural = _("uploaded files")
        default_permissions = ()

    def __str__(self) -> str:
        return self.name


class PreviewStorage(BaseStorage):
    """Store uploaded files as ImportFile rows between preview and import."""

    def save(self, data: bytes) -> None:
        ImportFile.objects.outdated().delete()
        self.name = ImportFile.objects.create(name=uuid4().hex, data=data).name

    def read(self) -> bytes:
        return bytes(self._file().data)

    def remove(self) -> None:
        self._file().delete()

    def _file(self) -> ImportFile:
        """Return the stored file; raise FileNotFoundError if it was deleted, or the form submitted an invalid name."""
        file = ImportFile.objects.filter(name=self.name).first() if _NAME.fullmatch(self.name) else None
        if file is None:
            raise FileNotFoundError(self.name)
        return file
