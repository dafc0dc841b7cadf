from datetime import timedelta
from typing import Any

from axes.models import AccessAttempt
from celery import shared_task
from django.conf import settings
from django.contrib.sessions.models import Session
from django.db.models import QuerySet
from rest_framework_simplejwt.token_blacklist.models import OutstandingToken

from config.lib import clock
from employees.credentials.models import LogIn


@shared_task(ignore_result=True)
def prune() -> int:
    """Delete expired refresh tokens, sessions, log-ins and lockouts; return the number of rows."""
    older, none = clock.is_older, timedelta()
    expired: list[QuerySet[Any]] = [
        OutstandingToken.objects.filter(older("expires_at", none)),
        Session.objects.filter(older("expire_date", none)),
        # The log-in of a session that was prolonged is kept, since its revocation ends the session.
        LogIn.objects.filter(older("expires_at", none)).exclude(session_key__in=Session.objects.values("pk")),
        AccessAttempt.objects.filter(older("attempt_time", settings.AXES_COOLOFF_TIME)),
    ]
    return sum(rows.delete()[0] for rows in expired)
