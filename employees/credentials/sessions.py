"""Django's session store, which also updates the log-in of a session when the session's key changes."""

from contextlib import suppress
from datetime import timedelta

from django.conf import settings
from django.contrib.auth import SESSION_KEY, get_user_model
from django.contrib.sessions.backends.db import SessionStore as DatabaseSessionStore
from rest_framework.exceptions import AuthenticationFailed

from config.postgres.base import without_standby
from employees.credentials.models import LogIn


class SessionStore(DatabaseSessionStore):
    @without_standby()
    def save(self, must_create: bool = False) -> None:
        """Save the session without waiting for a standby: if a failover loses it, its user logs in again."""
        super().save(must_create)

    def cycle_key(self) -> None:
        """Change the session's key, and store the new key in the session's log-in.

        Django calls this when a logged-in user sets a password in the admin. If it is the user's own password, a
        trigger has revoked the log-in, so start a new log-in for the session. Without a log-in, the session would not
        end when the user is deactivated or loses rights.
        """
        former, user_id = self.session_key, self.get(SESSION_KEY)
        super().cycle_key()
        if user_id is None or LogIn.objects.usable().filter(session_key=former).update(session_key=self.session_key):
            return
        user = get_user_model().objects.filter(pk=user_id, is_active=True).first()
        # If the account is closed, or another change of it has been committed, start no log-in: the session ends.
        with suppress(AuthenticationFailed):
            if user is not None:
                LogIn.objects.start(user, timedelta(seconds=settings.SESSION_COOKIE_AGE), str(self.session_key))
                return
        self.flush()
