"""The admin pages of users and groups, with the admin theme and with permissions in the reader's language."""

import logging
from typing import Any

from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator
from allauth.socialaccount.models import SocialAccount, SocialApp, SocialToken
from django.contrib import admin, messages
from django.contrib.auth import admin as auth_admin
from django.contrib.auth.models import Group, Permission, User
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext
from rest_framework_simplejwt.token_blacklist.models import BlacklistedToken, OutstandingToken
from unfold.forms import AdminPasswordChangeForm, UserChangeForm, UserCreationForm

from config.lib import audit_log
from config.lib.admin import GlobalScopeAdmin, MergingAdmin, ModelAdmin, permission_label
from config.lib.audit_log import AuditedAdmin, UntranslatedLogAdmin
from config.lib.http import access_log
from config.postgres.locks import confirmed_together
from employees.credentials import second_factor
from profiles.rollout import presenters

# Tokens need no page: deactivating a user invalidates the user's tokens. Users manage their second factors themselves.
admin.site.unregister([User, Group, OutstandingToken, BlacklistedToken, Authenticator, EmailAddress])
admin.site.unregister([SocialAccount, SocialApp, SocialToken])

# These apps have no pages in the admin, so their permissions would have no effect.
_APPS_WITHOUT_PAGES = ("account", "axes", "mfa", "socialaccount", "contenttypes", "sessions", "token_blacklist")
_RESET = _("Reset the second factor")


class _PermissionChoices(GlobalScopeAdmin, MergingAdmin):
    def formfield_for_manytomany(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        field: Any = super().formfield_for_manytomany(db_field, request, **kwargs)
        if db_field.related_model is Permission:
            permissions = Permission.objects.exclude(content_type__app_label__in=_APPS_WITHOUT_PAGES)
            # Earlier releases had this model.
            permissions = permissions.exclude(content_type__model="snapshot")
            field.queryset = permissions.select_related("content_type")
            field.label_from_instance = permission_label
        return field


@admin.register(User)
class UserAdmin(_PermissionChoices, AuditedAdmin, auth_admin.UserAdmin, ModelAdmin):  # type: ignore[misc,type-arg]
    form = UserChangeForm
    add_form = UserCreationForm
    change_password_form = AdminPasswordChangeForm
    list_display = ("username", "email", "is_staff", "is_superuser", "last_login")
    actions = ("reset_second_factors",)

    @admin.action(description=_RESET, permissions=["change"])
    def reset_second_factors(self, request: HttpRequest, queryset: QuerySet[User]) -> None:
        """Remove the second factors of users who have lost their phone, as manage.py reset_second_factor does."""
        count, by = 0, request.user.get_username()
        with confirmed_together():
            for user in filter(second_factor.reset, queryset):
                audit_log.record(request, audit_log.action_message(_RESET), user)
                access_log.log("second_factor_reset", request.META, user.username, level=logging.WARNING, by=by)
                count += 1
        text = ngettext("%d second factor was removed.", "%d second factors were removed.", count) % count
        self.message_user(request, text, messages.SUCCESS)

    def has_delete_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        """Return False: the audit log refers to users, so they are deactivated (``is_active``), never deleted."""
        return False


@admin.register(Group)
class GroupAdmin(_PermissionChoices, UntranslatedLogAdmin, auth_admin.GroupAdmin, ModelAdmin):  # type: ignore[misc]
    list_display = ("display_name",)
    readonly_fields = ("display_name",)

    @admin.display(description=_("name"), ordering="name")
    def display_name(self, group: Group) -> str:
        return presenters.with_code(group.name)

    def get_fieldsets(self, request: HttpRequest, obj: Group | None = None) -> Any:
        if obj is None or obj.name not in presenters.ROLES:
            return [(None, {"fields": ("name", "permissions")})]
        note = _("The system refers to this group by its name, so you cannot rename or delete it. Instead, remove its "
                 "users or its permissions.")  # fmt: skip
        return [(None, {"fields": ("display_name", "permissions"), "description": note})]

    def has_delete_permission(self, request: HttpRequest, obj: Group | None = None) -> bool:
        is_built_in = obj is not None and obj.name in presenters.ROLES
        return not is_built_in and bool(super().has_delete_permission(request, obj))
