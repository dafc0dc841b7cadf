"""Find out when MAX last sent an update, to distinguish a delivery failure from a day without messages.

If the subscription is lost, a firewall blocks MAX or the certificate is invalid, updates stop without any error here.
"""

from datetime import datetime

from django.conf import settings
from django.db.migrations.recorder import MigrationRecorder
from django.db.models import Exists, Min, OuterRef

from webhooks.models import DuplicateDelivery, InboxUpdate

# The prefix of the request IDs of our own probes. MAX sends no request ID, and proxies do not generate this prefix.
SYNTHETIC = "synthetic-"


def last_arrival() -> datetime | None:
    """Return when MAX last delivered an update, including duplicates and excluding synthetic updates.

    Before the first delivery, return the time of installation if WEBHOOK_PUBLIC_URL is set, otherwise None.
    """
    own = InboxUpdate.objects.filter(request_id__startswith=SYNTHETIC)
    deliveries = (
        InboxUpdate.objects.exclude(request_id__startswith=SYNTHETIC),
        DuplicateDelivery.objects.exclude(Exists(own.filter(dedup_key=OuterRef("dedup_key")))),
    )
    latest = [rows.order_by("-id").values_list("received_at", flat=True).first() for rows in deliveries]
    if any(latest) or not settings.WEBHOOK_PUBLIC_URL:
        return max(filter(None, latest), default=None)
    migrations = MigrationRecorder.Migration.objects.filter(app="webhooks")
    installed_at: datetime | None = migrations.aggregate(at=Min("applied"))["at"]
    return installed_at
