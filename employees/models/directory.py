from __future__ import annotations

import re
from typing import Any, ClassVar

from django.contrib.postgres.indexes import GinIndex, OpClass
from django.db import models
from django.db.models import F, Q, Value
from django.db.models.functions import Cast, Substr
from django.utils.deconstruct import deconstructible
from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy

from config.lib.pagination import EXACT, estimate
from profiles import names, phones
from profiles.models import ProfileSource

UNNAMED = "Неизвестный вуз"
# From so many expected rows on, counting the first 10 001 of a search would cost more than the page itself.
FAR_ABOVE = 50_000
# The planner judges one word by a large sample; of several conditions it only supposes that they are independent.
FAR_ABOVE_BY_ONE_WORD = 20_000
# So few that finding them all and sorting is quicker than walking by id until a page is full.
FEW = 5_000
_PREFIX_BELOW = 3
_MOST_WORDS = 8


class UniversityQuerySet(models.QuerySet["University"]):
    def described(self, *, inn: str, kpp: str, university_name: str) -> University:
        """Return the university of this INN and KPP, without an INN the one of this name; create it when new."""
        if inn:
            return self.get_or_create(inn=inn, kpp=kpp, defaults={"name": university_name or UNNAMED})[0]
        known = self.as_described(inn=inn, kpp=kpp, university_name=university_name).first()
        return known or self.get_or_create(inn="", name=university_name)[0]

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


class Role(models.TextChoices):
    CURATOR = "curator", _("curator")
    OPERATOR = "operator", _("operator")


@deconstructible(path="employees.models.directory.SearchText")
class SearchText(models.Func):
    """Names and the phone's digits in lower case, each word after a space: what the trigram index holds."""

    template = "lower(' ' || %(expressions)s)"
    arg_joiner = " || ' ' || "
    output_field = models.TextField()


SEARCH_TEXT = SearchText(F("last_name"), F("first_name"), F("middle_name"), Substr("phone", 2))


@models.TextField.register_lookup
class LikePattern(models.Lookup):  # type: ignore[type-arg]
    """``LIKE`` with the pattern as it is given: Django's own lookups put UPPER around both sides, past our index."""

    lookup_name = "like"

    def as_sql(self, compiler: Any, connection: Any) -> tuple[str, list[Any]]:
        text, text_params = self.process_lhs(compiler, connection)
        pattern, pattern_params = self.process_rhs(compiler, connection)
        return f"{text} LIKE {pattern}", [*text_params, *pattern_params]


def _pattern(word: str) -> str:
    """The LIKE pattern of a search word: anywhere from three characters on, below that at the start of a word."""
    literal = re.sub(r"([\\%_])", r"\\\1", word.lower())
    return f"%{literal}%" if len(word) >= _PREFIX_BELOW else f"% {literal}%"


class EmployeeQuerySet(models.QuerySet["Employee"]):
    def of_university(self, pk: int) -> EmployeeQuerySet:
        """Keep those of a university, as a bigint: with any other integer PostgreSQL passes by the search index."""
        return self.filter(university_id=Cast(Value(pk), models.BigIntegerField()))

    def matching(self, text: str) -> EmployeeQuerySet:
        """Keep those whose names or phone hold every word of the text, in any case; a whole phone finds its owner."""
        text = text.replace("\0", "").strip()
        try:
            return self.filter(phone=phones.normalize(text))
        except ValueError:
            found = self.alias(search_text=SEARCH_TEXT)
        for word in text.split()[:_MOST_WORDS]:
            digits = re.fullmatch(r"\+([0-9]+)", word)
            found = found.filter(search_text__like=_pattern(digits[1] if digits else word))
        return found

    def count_or_estimate(self, *, is_search: bool) -> int:
        """Count exactly to 10 000; above, tell what the planner expects."""
        rows = self.order_by().select_related(None)
        planned = estimate(rows) if is_search else None
        is_one_word = len(self.query.where.children) == 1
        if planned is None or planned < (FAR_ABOVE_BY_ONE_WORD if is_one_word else FAR_ABOVE):
            counted = rows[: EXACT + 1].count()
            if counted <= EXACT:
                return counted
        return max(estimate(rows) if planned is None else planned, EXACT + 1)

    def gathered_first(self) -> EmployeeQuerySet:
        """Order by id where PostgreSQL cannot tell: else it walks the table by id rather than gather a few matches."""
        return self if self.query.order_by else self.order_by(F("pk") + 0)


# As profiles.phones and profiles.user_ids spell them; whoever writes past the API writes these or nothing.
CANONICAL_PHONE = Q(phone__regex=r"^(\+7[0-9]{10}|\+[1-689][0-9]{7,14})$")
CANONICAL_MAX_ID = Q(max_id__regex=r"^[A-Za-z0-9_.-]{1,64}$") & (
    Q(max_id__regex=r"[^0-9]")
    | Q(max_id__regex=r"^[1-9][0-9]{0,17}$")
    | Q(max_id__regex=r"^[1-9][0-9]{18}$", max_id__lte=str(2**63 - 1))
)


class Employee(models.Model):
    """A person of the directory, one a phone. ``profile_source`` says who answered for the name."""

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
            # With the university, so that a curator's search does not gather the whole network's matches first.
            GinIndex(
                F("university"),
                OpClass(SEARCH_TEXT, name="gin_trgm_ops"),
                name="idx_employees_scoped_search",
                fastupdate=False,
            ),
            # A page of one university by id, however its employees are spread.
            models.Index(fields=["university", "id"], name="idx_employees_university_id"),
            models.Index(fields=["role"], name="idx_employees_role", condition=~Q(role="")),
            # What a list may be ordered by, with its tie-breakers (queries.ORDERINGS).
            models.Index(fields=["last_name", "first_name", "id"], name="idx_employees_by_last_name"),
            models.Index(fields=["created_at", "id"], name="idx_employees_created_at"),
            # A university that came late stands at the end of the order of all.
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
