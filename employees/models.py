from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from profiles import names
from profiles.models import ProfileSource

UNNAMED = "Неизвестный вуз"


class UniversityQuerySet(models.QuerySet["University"]):
    def described(self, *, inn: str, kpp: str, university_name: str) -> University:
        """Return the university of this INN and KPP, without an INN the one of this name; create it when new."""
        if inn:
            return self.get_or_create(inn=inn, kpp=kpp, defaults={"name": university_name or UNNAMED})[0]
        return self.get_or_create(inn="", name=university_name)[0]

    def known(self, *, inn: str, kpp: str, university_name: str) -> int | None:
        """Return the id of the university so described, None when there is none yet."""
        found = self.filter(inn=inn, kpp=kpp) if inn else self.filter(inn="", name=university_name)
        return found.values_list("pk", flat=True).first()


class University(models.Model):
    name = models.CharField(_("name"), max_length=500)
    inn = models.CharField(_("INN"), max_length=12, blank=True, default="")
    kpp = models.CharField(_("KPP"), max_length=9, blank=True, default="")
    created_at = models.DateTimeField(_("created at"), auto_now_add=True)
    updated_at = models.DateTimeField(_("updated at"), auto_now=True)

    objects: ClassVar[UniversityQuerySet] = UniversityQuerySet.as_manager()  # type: ignore[assignment]

    class Meta:
        db_table = "universities"
        ordering: ClassVar = ["id"]
        verbose_name = _("university")
        verbose_name_plural = _("universities")
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["inn", "kpp"], name="universities_inn_kpp_unique", condition=~Q(inn="")),
            models.UniqueConstraint(fields=["name"], name="universities_name_unique_without_inn", condition=Q(inn="")),
        ]

    def __str__(self) -> str:
        return self.name


class Role(models.TextChoices):
    CURATOR = "curator", _("curator")
    OPERATOR = "operator", _("operator")


class EmployeeQuerySet(models.QuerySet["Employee"]):
    def matching(self, text: str) -> EmployeeQuerySet:
        """Keep those whose names or phone hold every word of the text, in any case."""
        found = self
        for word in text.replace("\0", "").split():
            found = found.filter(Q(last_name__icontains=word) | Q(first_name__icontains=word) | Q(phone__contains=word))
        return found


class Employee(models.Model):
    """A person of the directory, one a phone. ``profile_source`` says who answered for the name."""

    phone = models.CharField(_("phone"), max_length=16)
    first_name = models.CharField(_("first name"), max_length=names.NAME_LENGTH, default=names.UNKNOWN)
    last_name = models.CharField(_("last name"), max_length=names.NAME_LENGTH, blank=True, default=names.UNKNOWN)
    middle_name = models.CharField(_("middle name"), max_length=names.NAME_LENGTH, blank=True, default="")
    max_id = models.CharField(_("MAX id"), max_length=64, blank=True, null=True)  # noqa: DJ001 (contract: empty is NULL)
    max_id_updated_at = models.DateTimeField(_("MAX id updated at"), blank=True, null=True)
    university = models.ForeignKey(University, models.PROTECT, related_name="employees", verbose_name=_("university"))
    role = models.CharField(_("role"), max_length=20, choices=Role, blank=True, default="")
    # The database's own default: code from before the column keeps inserting while both versions run.
    profile_source = models.CharField(
        _("profile source"), max_length=20, choices=ProfileSource, db_default=ProfileSource.MANUAL
    )
    profile_last_updated = models.DateTimeField(_("profile last updated"), blank=True, null=True)
    created_at = models.DateTimeField(_("created at"), auto_now_add=True)
    updated_at = models.DateTimeField(_("updated at"), auto_now=True)

    objects: ClassVar[EmployeeQuerySet] = EmployeeQuerySet.as_manager()  # type: ignore[assignment]

    class Meta:
        db_table = "employees"
        ordering: ClassVar = ["id"]
        verbose_name = _("employee")
        verbose_name_plural = _("employees")
        indexes: ClassVar = [
            models.Index(fields=["max_id"], name="idx_employees_max_id", condition=Q(max_id__isnull=False)),
            models.Index(fields=["profile_source"], name="idx_employees_profile_source"),
        ]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["phone"], name="employees_phone_unique"),
            models.CheckConstraint(condition=~Q(phone=""), name="employees_phone_not_empty"),
            models.CheckConstraint(condition=~Q(max_id=""), name="employees_max_id_not_empty"),
        ]

    def __str__(self) -> str:
        return f"{self.last_name} {self.first_name}"
