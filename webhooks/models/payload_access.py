from typing import ClassVar

from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _


class PayloadAccess(models.Model):
    """An audit record of an access to the body of an update: who viewed it, when and why.

    A trigger prevents changes to these rows.
    """

    at = models.DateTimeField(_("time"), auto_now_add=True)
    by = models.CharField(_("by"), max_length=150)
    # Not a foreign key: these rows are kept after the update has been pruned.
    inbox_update_id = models.BigIntegerField(_("update number"), db_index=True)
    update_type = models.CharField(_("type"), max_length=40)
    reason = models.CharField(_("reason"), max_length=500)

    permission_name = "rawlook"

    class Meta:
        db_table = "webhook_raw_looks"
        ordering: ClassVar = ["-at"]
        default_permissions = ()
        permissions: ClassVar = [
            ("view_raw_body", _("Can see the body of an update")),
            ("add_rawlook", "Can add payload access"),
            ("change_rawlook", "Can change payload access"),
            ("delete_rawlook", "Can delete payload access"),
            ("view_rawlook", "Can view payload access"),
        ]
        verbose_name = _("payload access")
        verbose_name_plural = _("payload accesses")
        constraints: ClassVar = [models.CheckConstraint(condition=~Q(reason=""), name="webhook_raw_look_has_reason")]

    def __str__(self) -> str:
        return f"{self.inbox_update_id}: {self.by}"
