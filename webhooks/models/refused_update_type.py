from django.db import models


class RefusedUpdateType(models.Model):
    """An update type that MAX refused when the receiver last subscribed; it is not reported as missing."""

    name = models.CharField(max_length=40, primary_key=True)

    class Meta:
        db_table = "webhook_refused_types"
        default_permissions = ()

    def __str__(self) -> str:
        return self.name
