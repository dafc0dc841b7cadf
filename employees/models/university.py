from __future__ import annotations

from collections import defaultdict
from typing import ClassVar

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.validators import RegexValidator
from django.db import models
from django.db.models import Q
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy

from config.lib import text as texts
from config.lib.text import clean

# These patterns accept ASCII digits only.
validate_inn = RegexValidator(r"^([0-9]{10}|[0-9]{12})\Z", _("Invalid INN “%(value)s”: enter 10 or 12 digits."))
validate_kpp = RegexValidator(r"^[0-9]{9}\Z", _("Invalid KPP “%(value)s”: enter 9 digits."))


def validate_visible(name: str) -> None:
    if not texts.is_visible(name):
        raise ValidationError(_("Enter a name that contains a letter or a digit."))


_UNNAMED = "Неизвестный вуз"
UNIVERSITY_NOT_FOUND = _("University not found.")
KPP_WITHOUT_INN = _("A KPP needs an INN. Enter both, or leave the KPP empty.")


class AmbiguousUniversity(ValueError):
    """Raised when a description does not identify a single university; the message is for the user who entered it.

    ``field`` is the part of the description to which the message refers.
    """

    def __init__(self, field: str, message: str | Promise) -> None:
        super().__init__(message)
        self.field = field


class UniversityQuerySet(models.QuerySet["University"]):
    def described(self, **description: str) -> University:
        """Return the university that ``find()`` returns for the description; create it if there is none."""
        return self.find(**description) or self.create_described(**description)

    def create_described(self, *, inn: str, kpp: str, university_name: str) -> University:
        """Create the university that ``find()`` did not find; if somebody has created it since, return that one."""
        name = clean(university_name)
        if inn:
            return self.get_or_create(inn=inn, kpp=kpp, defaults={"name": name or _UNNAMED})[0]
        return self.get_or_create(inn="", name=name)[0]

    def find(self, *, inn: str, kpp: str, university_name: str) -> University | None:
        """Return the university with this INN and KPP or, without an INN, with this name; None if there is none.

        If several universities have the INN (they are branches), return the one without a KPP. If several have the
        name, return the one without an INN. Raise AmbiguousUniversity if several match, but there is no such one.

        A KPP without an INN must be the KPP of a university with this name; otherwise, raise AmbiguousUniversity.
        """
        if inn:
            candidates = list(self.filter(inn=inn, **({"kpp": kpp} if kpp else {})))
            preferred = [university for university in candidates if not university.kpp]
            field, text = "inn", _("Several universities have this INN. Enter the KPP of the right one too.")
        else:
            candidates = list(self.named(university_name))
            if kpp:
                candidates = [university for university in candidates if university.kpp == kpp]
                if not candidates:
                    raise AmbiguousUniversity("kpp", KPP_WITHOUT_INN)
            preferred = [university for university in candidates if not university.inn]
            field, text = (
                "university_name",
                _("Several universities have this name. Enter the INN and KPP of the right one."),
            )
        if len(candidates) > 1 and not preferred:
            raise AmbiguousUniversity(field, text)
        return next(iter(preferred or candidates), None)

    def is_known(self, *, inn: str, kpp: str, university_name: str) -> bool:
        """Return whether there is a university with this INN and KPP or, without an INN, with this name.

        If there is, no other university may be created with this INN, KPP and name.
        """
        return (self.filter(inn=inn, kpp=kpp) if inn else self.named(university_name)).exists()

    def named(self, name: str) -> UniversityQuerySet:
        """Return the universities with this name; if there are none, those whose name looks the same.

        Names look the same if they differ only in case, in look-alike characters or in repeated spaces, which earlier
        releases stored. Of such names, prefer those that differ only in case. See docs/reference/names.md.
        """
        cleaned = clean(name)
        for matches in (self.filter(name=cleaned), self.filter(name__iexact=cleaned)):
            if matches.exists():
                return matches.order_by("pk")
        key = texts.look_alike_key(cleaned)
        pks = [pk for pk, other in self.values_list("pk", "name") if texts.look_alike_key(other) == key]
        return self.filter(pk__in=pks).order_by("pk")

    def look_alikes(self) -> list[list[int]]:
        """Return groups of universities without an INN whose names look the same, each as a list of IDs."""
        groups = defaultdict(list)
        for pk, name in self.filter(inn="").order_by("pk").values_list("pk", "name"):
            groups[texts.look_alike_key(name)].append(pk)
        return [pks for pks in groups.values() if len(pks) > 1]


class University(models.Model):
    name = models.CharField(pgettext_lazy("of a university", "name"), max_length=500)
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


class Membership(models.Model):
    """The link that limits a user to one university; groups grant the permissions at that university."""

    user = models.OneToOneField(settings.AUTH_USER_MODEL, models.CASCADE, verbose_name=_("user"))
    university = models.ForeignKey(University, models.CASCADE, related_name="members", verbose_name=_("university"))

    class Meta:
        db_table = "memberships"
        ordering: ClassVar = ["id"]
        verbose_name = _("membership")
        verbose_name_plural = _("memberships")

    def __str__(self) -> str:
        return f"{self.user} · {self.university}"
