from typing import Any

from axes.models import AccessAttempt
from celery import shared_task
from django.conf import settings
from django.contrib.sessions.models import Session
from django.db.models import QuerySet
from django.utils import timezone
from rest_framework_simplejwt.token_blacklist.models import OutstandingToken

from employees.credentials.models import LogIn


@shared_task(ignore_result=True)
def prune() -> int:
    """Delete expired refresh tokens, sessions, log-ins and lockouts; return the number of rows."""
    now = timezone.now()
    expired: list[QuerySet[Any]] = [
        OutstandingToken.objects.filter(expires_at__lt=now),
        Session.objects.filter(expire_date__lt=now),
        # The log-in of a session that was prolonged is kept, since its revocation ends the session.
        LogIn.objects.filter(expires_at__lt=now).exclude(session_key__in=Session.objects.values("pk")),
        AccessAttempt.objects.filter(attempt_time__lt=now - settings.AXES_COOLOFF_TIME),
    ]
    return sum(rows.delete()[0] for rows in expired)
