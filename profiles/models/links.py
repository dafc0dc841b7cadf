from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from django.db import models
from django.utils.translation import gettext_lazy as _

from config.lib import sql
from profiles.models.tombstones import Tombstone

# The phone of the latest sharing; at equal times the greater id, so that the order of arrival does not matter.
_LINK = """
INSERT INTO phone_links AS l (phone, user_id, said_at)
SELECT * FROM unnest(%b::text[], %b::text[], %b::timestamptz[])
ON CONFLICT (phone) DO UPDATE SET user_id = EXCLUDED.user_id, said_at = EXCLUDED.said_at
WHERE (EXCLUDED.said_at, EXCLUDED.user_id COLLATE "C") > (l.said_at, l.user_id)
"""


class PhoneLinkQuerySet(models.QuerySet["PhoneLink"]):
    def merge(self, links: Iterable[PhoneLink]) -> None:
        """Keep the latest sharing of each phone."""
        latest: dict[str, PhoneLink] = {}
        for link in sorted(Tombstone.objects.exclude_erased(links), key=lambda link: (link.observed_at, link.user_id)):
            latest[link.phone] = link
        if latest:
            rows = [latest[phone] for phone in sorted(latest)]
            sql.run(_LINK, [[getattr(row, name) for row in rows] for name in ("phone", "user_id", "observed_at")])

    def user_of(self, phone: str) -> str | None:
        """Return the MAX id of whoever shared this canonical phone as their own, None when nobody did."""
        return self.filter(phone=phone).values_list("user_id", flat=True).first()


class PhoneLink(models.Model):
    """The MAX user who shared a phone as their own, verified by the messenger's hash."""

    phone = models.CharField(_("phone"), max_length=16, primary_key=True)
    user_id = models.CharField(_("MAX id"), max_length=64, db_index=True)
    observed_at = models.DateTimeField(_("shared at"), db_column="said_at")

    objects: ClassVar[PhoneLinkQuerySet] = PhoneLinkQuerySet.as_manager()  # type: ignore[assignment]

    class Meta:
        db_table = "phone_links"
        verbose_name = _("phone link")
        verbose_name_plural = _("phone links")

    def __str__(self) -> str:
        return self.user_id
