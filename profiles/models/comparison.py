from typing import ClassVar

from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from profiles import names
from profiles.models.profile import ProfileSource


class ComparisonOutcome(models.TextChoices):
    AGREE = "agree", _("agree")
    EQUIVALENT = "equivalent", _("equivalent")
    CACHE_RICHER = "cache_richer", _("the cache has a fuller name")
    API_RICHER = "api_richer", _("the direct API has a fuller name")
    CONFLICT = "conflict", _("conflict")
    CACHE_MISS = "cache_miss", _("not in the cache")
    CACHE_STALE = "cache_stale", _("stale in the cache")
    API_ERROR = "api_error", _("the direct API failed")
    CACHE_ERROR = "cache_error", _("the cache failed")
    TIMEOUT = "timeout", _("the direct API was too slow")
    BOTH_EMPTY = "both_empty", _("no name in either source")


class Pattern(models.TextChoices):
    SCRIPT = "script", _("different alphabet")
    LAST_NAME = "last_name", _("different last name")
    FIRST_NAME = "first_name", _("different first name")
    BOTH_NAMES = "both_names", _("both names differ")


class WaitingComparison(models.Model):
    """A completed lookup that is waiting to be compared.

    The task worker deletes the row when it compares the lookup, because the row contains the phone.
    """

    phone = models.CharField(max_length=16)
    max_id = models.CharField(max_length=64, blank=True, default="")
    university_id = models.BigIntegerField(null=True)
    stage = models.PositiveSmallIntegerField()
    served_source = models.CharField(max_length=20)
    served_ms = models.FloatField()
    # The name from the direct API if the lookup used it, so that the comparison does not query the API again.
    api_name = models.CharField(max_length=names.NAME_LENGTH * 2 + 1, blank=True, default="")
    asked_at = models.DateTimeField(default=timezone.now)

    class Meta:
        db_table = "comparisons_waiting"
        verbose_name = _("pending comparison")
        verbose_name_plural = _("pending comparisons")

    def __str__(self) -> str:
        return str(self.pk)


class Comparison(models.Model):
    """The names that the cache and the direct API had for one lookup, masked, with a hash of the phone."""

    at = models.DateTimeField(_("time"), default=timezone.now, db_index=True)
    key_hash = models.CharField(_("hash of the phone"), max_length=32)
    bucket = models.PositiveSmallIntegerField(_("bucket"))
    university_id = models.BigIntegerField(_("university ID"), null=True)
    stage = models.PositiveSmallIntegerField(_("stage"))
    outcome = models.CharField(_("outcome"), max_length=20, choices=ComparisonOutcome)
    pattern = models.CharField(
        _("kind of difference"),
        max_length=20,
        choices=[*Pattern.choices, *ComparisonOutcome.choices],
        blank=True,
        default="",
        help_text=_("how the names differ; for a stale name, the outcome if it were fresh"),
    )
    cache_age_days = models.FloatField(_("age in the cache, days"), null=True)
    cache_name = models.CharField(_("name in the cache, masked"), max_length=40, blank=True, default="")
    api_name = models.CharField(_("name from the direct API, masked"), max_length=40, blank=True, default="")
    served_source = models.CharField(_("name source"), max_length=20, choices=ProfileSource)
    served_ms = models.FloatField(_("response time, ms"))

    class Meta:
        db_table = "comparisons"
        ordering: ClassVar = ["-pk"]
        verbose_name = _("comparison")
        verbose_name_plural = _("comparisons")

    def __str__(self) -> str:
        return f"{self.get_outcome_display()} {self.pk}"
