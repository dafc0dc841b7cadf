"""Log-ins over the API and in the admin, and the API keys of services."""

from __future__ import annotations

import hashlib
import secrets
import uuid
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any, ClassVar

from django.conf import settings
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission, User
from django.core.validators import MinValueValidator
from django.db import DatabaseError, connection, models, transaction
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from rest_framework.exceptions import AuthenticationFailed

from config.postgres.base import without_standby
from config.postgres.compiled import CompiledQuery, Parameter
from employees.accounts import Group, UserScope, user_scope
from employees.models import University

# A chain of refreshes ends this long after the log-in.
LONGEST_LOG_IN = timedelta(days=7)
USE_RECORDED_EVERY = timedelta(minutes=1)
# Another process that stands still may hold the row; it then records the use.
_RECORD_USE = """
UPDATE api_keys SET last_used_at = %s
WHERE id = (SELECT id FROM api_keys WHERE id = %s FOR NO KEY UPDATE SKIP LOCKED)
"""


def new_id() -> str:
    return uuid.uuid4().hex


class LogInQuerySet(models.QuerySet["LogIn"]):
    def usable(self, at: datetime | Parameter | None = None) -> LogInQuerySet:
        """Return the log-ins that are valid at this time, by default now, with their users."""
        unexpired = self.filter(expires_at__gt=at or timezone.now())
        return unexpired.filter(revoked_at=None, user__is_active=True).select_related("user")

    def revoke(self) -> int:
        """Revoke the log-ins, which makes their tokens invalid at once; return how many had not been revoked before."""
        return self.filter(revoked_at=None).update(revoked_at=timezone.now())

    def start(
        self, user: User, length: timedelta = LONGEST_LOG_IN, session_key: str = "", *, has_second_factor: bool = False
    ) -> LogIn:
        """Create a log-in; raise AuthenticationFailed if the user's password has changed, or the user is deactivated.

        Lock the user's row until the commit, so that nobody can change the password before it. The trigger that revokes
        log-ins after such a change would miss this log-in, because it is not committed yet.
        """
        unchanged = get_user_model().objects.filter(pk=user.pk, password=user.password, is_active=True)
        with transaction.atomic():
            if not unchanged.select_for_update(no_key=True).exists():
                raise AuthenticationFailed
            ends_at = timezone.now() + length
            return self.create(
                user=user, expires_at=ends_at, session_key=session_key, has_second_factor=has_second_factor
            )


class LogIn(models.Model):
    """A log-in over the API or in the admin. Its tokens and its session end when it is revoked or expires.

    Triggers (migrations 0002, 0004 and 0005) revoke a user's log-ins and delete their sessions when the password
    changes, or when the user is deactivated or loses a status, group, permission or second factor. If a group loses a
    permission, this happens to all its users. It also happens if another program changes the database.

    ``has_second_factor`` applies to the tokens; a session itself records whether a code has been entered.
    """

    id = models.CharField(primary_key=True, max_length=32, default=new_id, editable=False)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="log_ins")
    session_key = models.CharField(max_length=40, blank=True, default="")
    started_at = models.DateTimeField(default=timezone.now)
    expires_at = models.DateTimeField(db_index=True)
    revoked_at = models.DateTimeField(null=True, blank=True)
    has_second_factor = models.BooleanField(default=False, db_default=False)

    objects: ClassVar[LogInQuerySet] = LogInQuerySet.as_manager()  # type: ignore[assignment]

    class Meta:
        db_table = "log_ins"
        default_permissions = ()

    def __str__(self) -> str:
        return self.pk


# Each request with a token needs it.
_USABLE = CompiledQuery(lambda: LogIn.objects.usable(Parameter("now")).filter(pk=Parameter("id")))


def find_usable(log_in_id: str) -> LogIn | None:
    """Return the usable log-in with this ID, with its user; None if there is none."""
    return _USABLE.first(id=log_in_id, now=timezone.now())


def digest_of(key: str) -> str:
    """Return the SHA-256 of a key. A key has 256 random bits, so it needs no slow hash."""
    return hashlib.sha256(key.encode()).hexdigest()


class ApiKeyQuerySet(models.QuerySet["ApiKey"]):
    def usable(self, at: datetime | Parameter) -> ApiKeyQuerySet:
        """Return the keys that are valid at this time, with their owners."""
        return self.filter(expires_at__gt=at, revoked_at=None, owner__is_active=True).select_related("owner")


class ApiKey(models.Model):
    """The API key of a service. It grants only those of the chosen permissions that its owner also has."""

    name = models.CharField(_("name"), max_length=60, help_text=_("The service that uses the key."))
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        models.CASCADE,
        related_name="api_keys",
        verbose_name=_("owner"),
        help_text=_("The key never has more rights than its owner, and ends when the owner is deactivated."),
    )
    university = models.ForeignKey(
        University,
        models.CASCADE,
        null=True,
        blank=True,
        verbose_name=_("university"),
        help_text=_("Limits the key to the people of one university."),
    )
    permissions = models.ManyToManyField(Permission, related_name="+", verbose_name=_("permissions"))
    prefix = models.CharField(_("begins with"), max_length=12, editable=False)
    digest = models.CharField(max_length=64, unique=True, editable=False)
    created_at = models.DateTimeField(_("created at"), default=timezone.now, editable=False)
    expires_at = models.DateTimeField(_("expires at"), validators=[MinValueValidator(timezone.now)])
    revoked_at = models.DateTimeField(_("revoked at"), null=True, editable=False)
    last_used_at = models.DateTimeField(_("last used at"), null=True, editable=False)

    objects: ClassVar[ApiKeyQuerySet] = ApiKeyQuerySet.as_manager()  # type: ignore[assignment]

    class Meta:
        db_table = "api_keys"
        ordering: ClassVar = ["-pk"]
        verbose_name = _("API key")
        verbose_name_plural = _("API keys")
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["name"],
                name="api_keys_name_unique",
                condition=Q(revoked_at=None),
                violation_error_message=_("A key with this name exists. Revoke it first, or choose another name."),
            )
        ]

    def __str__(self) -> str:
        return self.name

    def generate(self) -> str:
        """Return a new key; set ``prefix`` and ``digest``, because the key itself is not stored."""
        key = f"dir_{secrets.token_urlsafe(32)}"
        self.prefix, self.digest = key[:10], digest_of(key)
        return key

    def record_use(self) -> None:
        """Record the time of use, at most once a minute. While the database is read-only, do nothing.

        Do not wait for a standby: while it is lost, the wait would use up the time of the request, which may be an
        emergency stop.
        """
        now = timezone.now()
        if self.last_used_at is None or self.last_used_at < now - USE_RECORDED_EVERY:
            with suppress(DatabaseError), without_standby(), connection.cursor() as cursor:
                cursor.execute(_RECORD_USE, [now, self.pk])

    def limited_owner(self) -> User:
        """Return the owner, limited to the key's permissions and university, for use as ``request.user``."""
        user: Any = self.owner
        names = self.permissions.values_list("content_type__app_label", "codename")
        permissions = {f"{app}.{codename}" for app, codename in names}
        own_scope = user_scope(user)
        user.api_key, user.key_permissions = self, permissions
        # ModelBackend would cache the permissions in this attribute, and reads them from it.
        user._perm_cache = permissions if user.is_superuser else permissions & user.get_all_permissions()  # noqa: SLF001
        user.is_superuser = False
        user.directory_scope = self._limit(own_scope)
        name = f"{user.get_username()[:70]} (API key {self.name})"
        user.get_username = lambda: name
        return self.owner

    def _limit(self, scope: UserScope) -> UserScope:
        if self.university_id is None or self.university_id == scope.university_id:
            return scope
        if scope.sees_all:
            return UserScope(Group.CURATOR, self.university_id)
        # Staff without a membership see all universities in the admin; a curator without one sees nothing.
        if scope.university_id is None and scope.group != Group.CURATOR:
            return UserScope(None, self.university_id)
        return UserScope(Group.CURATOR)


_USABLE_KEY = CompiledQuery(lambda: ApiKey.objects.usable(Parameter("now")).filter(digest=Parameter("digest")))


def find_usable_key(key: str) -> ApiKey | None:
    """Return the usable API key with this text, with its owner; None if there is none."""
    return _USABLE_KEY.first(digest=digest_of(key), now=timezone.now())
