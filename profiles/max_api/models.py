from django.db import models
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _

from profiles import names


class DirectAnswer(models.Model):
    """A request to the direct API for a phone, and its response, which all processes reuse for a few minutes."""

    class Result(models.TextChoices):
        ASKING = "asking", _("request sent")
        FOUND = "found", _("found")
        ABSENT = "absent", _("not in MAX")
        FAILED = "failed", _("no answer")

    phone = models.CharField(_("phone"), max_length=16, primary_key=True)
    asked_at = models.DateTimeField(_("requested at"))
    outcome = models.CharField(_("outcome"), max_length=10, choices=Result)
    user_id = models.CharField(_("MAX ID"), max_length=64, blank=True)
    first_name = models.CharField(_("first name"), max_length=names.NAME_LENGTH, blank=True)
    last_name = models.CharField(_("last name"), max_length=names.NAME_LENGTH, blank=True)

    class Meta:
        db_table = "direct_answers"
        verbose_name = _("direct API response")
        verbose_name_plural = _("direct API responses")

    def __str__(self) -> str:
        return self.outcome


class DirectApiPace(models.Model):
    free_at = models.DateTimeField()
    set_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "direct_api_pace"
        verbose_name = _("direct API request rate")
        verbose_name_plural = _("direct API request rate")

    def __str__(self) -> str:
        return str(self.free_at)
