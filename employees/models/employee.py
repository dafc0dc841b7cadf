from __future__ import annotations

import re
from typing import ClassVar

from django.contrib.postgres.indexes import GinIndex, OpClass
from django.db import models
from django.db.models import F, Q, Value
from django.db.models.functions import Cast, Lower, Substr
from django.utils.deconstruct import deconstructible
from django.utils.translation import gettext_lazy as _

from config.lib import text as texts
from config.lib.http.pagination import EXACT, estimate
from config.postgres.compiled import Parameter
from employees.models.university import University
from profiles import names, phones
from profiles.models import ProfileSource

PHONE_TAKEN = _("An employee with this phone already exists.")
# The matches of a search are not counted if their estimate is above these limits: counting 10,001 rows would cost more
# than the page itself. The limit for one word is lower, because the planner estimates it from a large sample, whereas
# for several conditions it assumes independence.
_ESTIMATE_FROM = 50_000
_ESTIMATE_ONE_WORD_FROM = 20_000
# Up to this number, finding and sorting all matches is faster than scanning in id order until a page is full.
_MAX_SORTED = 5_000
_PREFIX_BELOW = 3
_MAX_WORDS = 8


class Role(models.TextChoices):
    CURATOR = "curator", _("curator")
    OPERATOR = "operator", _("operator")


@deconstructible(path="employees.models.SearchText")
class SearchText(models.Func):
    """The indexed search expression: names and the phone's digits in lower case, with a space before each word."""

    template = "lower(' ' || %(expressions)s)"
    arg_joiner = " || ' ' || "
    output_field = models.TextField()


SEARCH_TEXT = SearchText(F("last_name"), F("first_name"), F("middle_name"), Substr("phone", 2))


class EmployeeQuerySet(models.QuerySet["Employee"]):
    def of_university(self, pk: int | Parameter) -> EmployeeQuerySet:
        """Filter by university ID, cast to bigint: without the cast, PostgreSQL does not use the search index."""
        return self.filter(university_id=Cast(pk if isinstance(pk, Parameter) else Value(pk), models.BigIntegerField()))

    def matching(self, text: str) -> EmployeeQuerySet:
        """Filter by a complete phone, or by parts of the names and the phone, ignoring case; all words must match.

        Words of fewer than three characters match only at the start of a word.
        """
        text = texts.clean(text)
        try:
            return self.filter(phone=phones.normalize(text))
        except ValueError:
            matches = self.alias(search_text=SEARCH_TEXT)
        for part in text.split()[:_MAX_WORDS]:
            digits = re.fullmatch(r"\+([0-9]+)", part)
            word = digits[1] if digits else part
            prefix = "" if len(word) >= _PREFIX_BELOW else " "
            # Not icontains, which applies UPPER to both sides and so would bypass the index. PostgreSQL and Python
            # disagree about the small letter of some capitals, such as the Turkish dotted I.
            matches = matches.filter(search_text__contains=Lower(Value(prefix + word)))
        return matches

    def count_or_estimate(self, *, is_search: bool) -> int:
        """Return the exact number of rows up to 10,000, and an estimate of PostgreSQL's planner above that.

        ``is_search`` is whether the rows were filtered by a search text.
        """
        rows = self.order_by().select_related(None)
        planned = estimate(rows) if is_search else None
        is_one_word = len(self.query.where.children) == 1
        if planned is None or planned < (_ESTIMATE_ONE_WORD_FROM if is_one_word else _ESTIMATE_FROM):
            count = rows[: EXACT + 1].count()
            if count <= EXACT:
                return count
        return max(estimate(rows) if planned is None else planned, EXACT + 1)

    def sorted_by_id(self, count: int) -> EmployeeQuerySet:
        """Order by ID; ``count`` is the number of matches.

        If there are few matches, make PostgreSQL sort them instead of scanning the table in ID order until a page is
        full.
        """
        return self.order_by(F("pk") + 0 if count <= _MAX_SORTED else F("pk"))


# The formats that profiles.phones and profiles.user_ids produce, enforced for every writer.
CANONICAL_PHONE = Q(phone__regex=r"^(\+7[0-9]{10}|\+[1-689][0-9]{7,14})$")
CANONICAL_MAX_ID = Q(max_id__regex=r"^[A-Za-z0-9_.-]{1,64}$") & (
    Q(max_id__regex=r"[^0-9]")
    | Q(max_id__regex=r"^[1-9][0-9]{0,17}$")
    | Q(max_id__regex=r"^[1-9][0-9]{18}$", max_id__lte=str(2**63 - 1))
)


class Employee(models.Model):
    """A person in the directory, identified by their phone. ``profile_source`` records where the name came from."""

    phone = models.CharField(_("phone"), max_length=16)
    first_name = models.CharField(_("first name"), max_length=names.NAME_LENGTH, default=names.UNKNOWN)
    last_name = models.CharField(_("last name"), max_length=names.NAME_LENGTH, blank=True, default=names.UNKNOWN)
    middle_name = models.CharField(_("middle name"), max_length=names.NAME_LENGTH, blank=True, default="")
    max_id = models.CharField(_("MAX ID"), max_length=64, blank=True, null=True)  # noqa: DJ001 (docs/reference/names.md)
    max_id_updated_at = models.DateTimeField(_("MAX ID updated at"), blank=True, null=True)
    university = models.ForeignKey(
        University, models.PROTECT, related_name="employees", db_index=False, verbose_name=_("university")
    )
    role = models.CharField(_("role"), max_length=20, choices=Role, blank=True, default="")
    # A database default, because the previous release inserts rows without this column while both releases run.
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
            # Includes the university; otherwise a curator's search would first find the matches of all universities.
            GinIndex(
                F("university"),
                OpClass(SEARCH_TEXT, name="gin_trgm_ops"),
                name="idx_employees_scoped_search",
                fastupdate=False,
            ),
            # For pages of one university in id order.
            models.Index(fields=["university", "id"], name="idx_employees_university_id"),
            models.Index(fields=["role"], name="idx_employees_role", condition=~Q(role="")),
            # For the orderings of the API's list, with their tie-breakers (employees.api.serializers).
            models.Index(fields=["last_name", "first_name", "id"], name="idx_employees_by_last_name"),
            models.Index(fields=["created_at", "id"], name="idx_employees_created_at"),
            # For lists of one university: if it was added late, its employees are at the end of the index above.
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


class MaxIdClaim(models.Model):
    """A MAX ID that was entered by hand for an employee, and that the direct API did not return for the phone.

    It does not make the profile of the ID's owner visible to users who are limited to the employee's university.
    ``is_vouched`` means that a user who sees all universities entered the ID; the employee may then get the owner's
    name.
    """

    employee = models.OneToOneField(Employee, models.CASCADE, primary_key=True, verbose_name=_("employee"))
    max_id = models.CharField(_("MAX ID"), max_length=64)
    is_vouched = models.BooleanField(_("entered by a user who sees all universities"), default=False, db_default=False)

    class Meta:
        db_table = "max_id_claims"
        verbose_name = _("manually entered MAX ID")
        verbose_name_plural = _("manually entered MAX IDs")

    def __str__(self) -> str:
        return str(self.pk)
