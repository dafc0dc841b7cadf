from __future__ import annotations

from collections import defaultdict
from typing import ClassVar

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.validators import RegexValidator
from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy

from config.lib import text as texts
from config.lib.text import clean

# These patterns accept ASCII digits only.
validate_inn = RegexValidator(r"^([0-9]{10}|[0-9]{12})\Z", _("Invalid INN “%(value)s”: enter 10 or 12 digits."))
validate_kpp = RegexValidator(r"^[0-9]{9}\Z", _("Invalid KPP “%(value)s”: enter 9 digits."))


def validate_visible(name: str) -> None:
    if not texts.is_visible(name):
        raise ValidationError(_("Enter a name with a letter or a digit."))


_UNNAMED = "Неизвестный вуз"


class AmbiguousUniversity(ValueError):
    """Raised when a description may mean more than one university; the message is for the user who entered it."""


class UniversityQuerySet(models.QuerySet["University"]):
    def described(self, *, inn: str, kpp: str, university_name: str) -> University:
        """Return the university that ``find`` finds; create it if there is none."""
        if existing := self.find(inn=inn, kpp=kpp, university_name=university_name):
            return existing
        name = clean(university_name)
        if inn:
            return self.get_or_create(inn=inn, kpp=kpp, defaults={"name": name or _UNNAMED})[0]
        return self.get_or_create(inn="", name=name)[0]

    def find(self, *, inn: str, kpp: str, university_name: str) -> University | None:
        """Return the university with this INN and KPP or, without an INN, with this name; None if there is none.

        If several universities have the name, return the one without an INN. If all of them have an INN, they are
        branches: raise AmbiguousUniversity.
        """
        if inn:
            return self.filter(inn=inn, kpp=kpp).first()
        named = list(self.named(university_name))
        without_inn = [university for university in named if not university.inn]
        if len(named) > 1 and not without_inn:
            raise AmbiguousUniversity(_("Several universities have this name. Enter the INN and KPP of one of them."))
        return next(iter(without_inn or named), None)

    def is_known(self, **description: str) -> bool:
        """Return whether the description may mean an existing university; if so, no new one may be created with it."""
        try:
            return self.find(**description) is not None
        except AmbiguousUniversity:
            return True

    def named(self, name: str) -> UniversityQuerySet:
        """Return the universities with exactly this name; without any, ignore case, and then also look-alike letters.

        See docs/reference/names.md. Earlier releases stored names as they were entered, so stored names may not be
        clean.
        """
        cleaned = clean(name)
        for matches in (self.filter(name=cleaned), self.filter(name__iexact=cleaned)):
            if matches.exists():
                return matches.order_by("pk")
        pks = [
            pk
            for pk, other in self.values_list("pk", "name")
            if texts.look_alike_key(other) == texts.look_alike_key(cleaned)
        ]
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
    """Limit a user to the employees of one university; the user's groups grant the permissions there."""

    user = models.OneToOneField(settings.AUTH_USER_MODEL, models.CASCADE, verbose_name=_("user"))
    university = models.ForeignKey(University, models.CASCADE, related_name="members", verbose_name=_("university"))

    class Meta:
        db_table = "memberships"
        ordering: ClassVar = ["id"]
        verbose_name = _("membership")
        verbose_name_plural = _("memberships")

    def __str__(self) -> str:
        return f"{self.user} · {self.university}"
