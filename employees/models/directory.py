from __future__ import annotations

import re
from typing import ClassVar

from django.conf import settings
from django.contrib.postgres.indexes import GinIndex, OpClass
from django.db import models
from django.db.models import F, Q, Value
from django.db.models.functions import Cast, Substr
from django.utils.deconstruct import deconstructible
from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy

from config.lib.pagination import EXACT, expected
from profiles import names, phones
from profiles.models import ProfileSource

PHONE_TAKEN = _("An employee with this phone already exists.")
_UNNAMED = "Неизвестный вуз"
# From this estimate on a search is not counted: counting 10,001 rows would cost more than the page itself. The
# planner's estimate for one word comes from a large sample; for several conditions it assumes independence.
_ESTIMATE_FROM = 50_000
_ESTIMATE_ONE_WORD_FROM = 20_000
# Up to here, finding and sorting all matches is quicker than walking by id until a page is full.
_MAX_SORTED = 5_000
_PREFIX_BELOW = 3
_MAX_WORDS = 8


class UniversityQuerySet(models.QuerySet["University"]):
    def described(self, *, inn: str, kpp: str, university_name: str) -> University:
        """Return the university of this INN and KPP, or of this name if there is no INN; create it when new."""
        if inn:
            return self.get_or_create(inn=inn, kpp=kpp, defaults={"name": university_name or _UNNAMED})[0]
        existing = self.as_described(inn=inn, kpp=kpp, university_name=university_name).first()
        return existing or self.get_or_create(inn="", name=university_name)[0]

    def as_described(self, *, inn: str, kpp: str, university_name: str) -> UniversityQuerySet:
        return (self.filter(inn=inn, kpp=kpp) if inn else self.filter(name=university_name)).order_by("pk")


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
    """Limits a user to the employees of one university. The user's group decides what they may do there."""

    user = models.OneToOneField(settings.AUTH_USER_MODEL, models.CASCADE, verbose_name=_("user"))
    university = models.ForeignKey(University, models.CASCADE, related_name="members", verbose_name=_("university"))

    class Meta:
        db_table = "memberships"
        ordering: ClassVar = ["id"]
        verbose_name = _("membership")
        verbose_name_plural = _("memberships")

    def __str__(self) -> str:
        return f"{self.user} · {self.university}"


class Role(models.TextChoices):
    CURATOR = "curator", _("curator")
    OPERATOR = "operator", _("operator")


@deconstructible(path="employees.models.directory.SearchText")
class SearchText(models.Func):
    """The indexed expression: names and the phone's digits in lower case, each word after a space."""

    template = "lower(' ' || %(expressions)s)"
    arg_joiner = " || ' ' || "
    output_field = models.TextField()


SEARCH_TEXT = SearchText(F("last_name"), F("first_name"), F("middle_name"), Substr("phone", 2))


class EmployeeQuerySet(models.QuerySet["Employee"]):
    def of_university(self, pk: int) -> EmployeeQuerySet:
        """Filter by university. PostgreSQL uses the search index only if the value is a bigint."""
        return self.filter(university_id=Cast(Value(pk), models.BigIntegerField()))

    def matching(self, text: str) -> EmployeeQuerySet:
        """Filter by words in names or phone, in any case, all required; a complete phone matches its owner only.

        Words under three characters match at the start of a word only.
        """
        text = text.replace("\0", "").strip()
        try:
            return self.filter(phone=phones.normalize(text))
        except ValueError:
            matches = self.alias(search_text=SEARCH_TEXT)
        for part in text.split()[:_MAX_WORDS]:
            digits = re.fullmatch(r"\+([0-9]+)", part)
            word = digits[1] if digits else part.lower()
            # Not icontains: UPPER around both sides would bypass the index.
            matches = matches.filter(search_text__contains=word if len(word) >= _PREFIX_BELOW else f" {word}")
        return matches

    def count_or_estimate(self, *, is_search: bool) -> int:
        """Return the exact count up to 10,000, and the planner's estimate above."""
        rows = self.order_by().select_related(None)
        estimate = expected(rows) if is_search else None
        is_one_word = len(self.query.where.children) == 1
        if estimate is None or estimate < (_ESTIMATE_ONE_WORD_FROM if is_one_word else _ESTIMATE_FROM):
            count = rows[: EXACT + 1].count()
            if count <= EXACT:
                return count
        return max(expected(rows) if estimate is None else estimate, EXACT + 1)

    def sorted_by_id(self, count: int) -> EmployeeQuerySet:
        """Order by id. For a few matches force a sort: PostgreSQL would walk the whole table by id to find them."""
        return self.order_by(F("pk") + 0 if count <= _MAX_SORTED else F("pk"))


# The spellings of profiles.phones and profiles.user_ids, enforced for every writer.
CANONICAL_PHONE = Q(phone__regex=r"^(\+7[0-9]{10}|\+[1-689][0-9]{7,14})$")
CANONICAL_MAX_ID = Q(max_id__regex=r"^[A-Za-z0-9_.-]{1,64}$") & (
    Q(max_id__regex=r"[^0-9]")
    | Q(max_id__regex=r"^[1-9][0-9]{0,17}$")
    | Q(max_id__regex=r"^[1-9][0-9]{18}$", max_id__lte=str(2**63 - 1))
)


class Employee(models.Model):
    """A person in the directory, identified by the phone. ``profile_source`` records where the name came from."""

    phone = models.CharField(_("phone"), max_length=16)
    first_name = models.CharField(_("first name"), max_length=names.NAME_LENGTH, default=names.UNKNOWN)
    last_name = models.CharField(_("last name"), max_length=names.NAME_LENGTH, blank=True, default=names.UNKNOWN)
    middle_name = models.CharField(_("middle name"), max_length=names.NAME_LENGTH, blank=True, default="")
    max_id = models.CharField(_("MAX id"), max_length=64, blank=True, null=True)  # noqa: DJ001 (docs/reference/names.md)
    max_id_updated_at = models.DateTimeField(_("MAX id updated at"), blank=True, null=True)
    university = models.ForeignKey(
        University, models.PROTECT, related_name="employees", db_index=False, verbose_name=_("university")
    )
    role = models.CharField(_("role"), max_length=20, choices=Role, blank=True, default="")
    # A database default: the previous release inserts without the column while both run.
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
            # With the university: otherwise a curator's search finds the matches of all universities first.
            GinIndex(
                F("university"),
                OpClass(SEARCH_TEXT, name="gin_trgm_ops"),
                name="idx_employees_scoped_search",
                fastupdate=False,
            ),
            # Pages of one university by id.
            models.Index(fields=["university", "id"], name="idx_employees_university_id"),
            models.Index(fields=["role"], name="idx_employees_role", condition=~Q(role="")),
            # The orderings of the list with their tie-breakers (employees.api.queries).
            models.Index(fields=["last_name", "first_name", "id"], name="idx_employees_by_last_name"),
            models.Index(fields=["created_at", "id"], name="idx_employees_created_at"),
            # Employees of a university added late are at the end of the order of all.
            models.Index(fields=["university", "created_at", "id"], name="idx_employees_univ_created"),
        ]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["phone"], name="employees_phone_unique"),
            models.CheckConstraint(condition=~Q(phone=""), name="employees_phone_not_empty"),
            models.CheckConstraint(condition=~Q(max_id=""), name="employees_max_id_not_empty"),
            models.CheckConstraint(condition=CANONICAL_PHONE, name="employees_phone_canonical"),
            models.CheckConstraint(condition=CANONICAL_MAX_ID, name="employees_max_id_canonical"),
        ]

    def __str__(self) -> str:
        return f"{self.last_name} {self.first_name}"
