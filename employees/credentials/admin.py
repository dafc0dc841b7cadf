"""The page of API keys. A key is shown once, when it is created; afterwards it can only be revoked."""

from collections.abc import Iterable
from datetime import timedelta
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.auth.models import Permission
from django.core.exceptions import PermissionDenied
from django.db.models import Q
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils import timezone
from django.utils.html import format_html_join
from django.utils.safestring import mark_safe
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from unfold.decorators import display
from unfold.widgets import UnfoldAdminCheckboxSelectMultipleWidget

from config.lib import audit_log
from config.lib.admin import GlobalScopeAdmin, ModelAdmin, permission_label
from config.lib.audit_log import AuditedAdmin
from employees.credentials.models import ApiKey

# What requests of the API need; a test compares them with the routes.
API_PERMISSIONS = {
    "employees": (
        *("view_employee", "add_employee", "change_employee", "delete_employee"),
        *("view_university", "add_university", "view_maxidjob", "add_maxidjob"),
        *("view_backfillrun", "add_backfillrun", "change_backfillrun", "delete_backfillrun"),
    ),
    "profiles": ("view_profile", "change_profile", "delete_profile"),
    "monitoring": ("view_screens", "view_alert"),
    "rollout": ("view_rollout", "operate_rollout", "force_rollout", "stop_rollout"),
}
_FIELDS = ("name", "owner", "university", "permissions", "expires_at")
_LIFETIME = timedelta(days=365)
_REVOKE = gettext_lazy("Revoke the API key")
_EXPIRY = gettext_lazy("The key is valid until this time, even if its owner changes the password.")


@admin.register(ApiKey)
class ApiKeyAdmin(GlobalScopeAdmin, AuditedAdmin, ModelAdmin):
    list_display = ("name", "display_state", "owner", "university", "prefix", "last_used_at", "expires_at")
    list_select_related = ("owner", "university")
    list_filter = (("revoked_at", admin.EmptyFieldListFilter),)
    search_fields = ("name", "prefix", "owner__username")
    search_help_text = gettext_lazy("Name, beginning of the key, or owner")
    autocomplete_fields = ("owner", "university")
    readonly_fields = ("display_permissions",)
    change_form_template = "admin/api_key.html"

    def get_urls(self) -> list[Any]:
        revoke = self.admin_site.admin_view(self.revoke)
        return [path("<int:pk>/revoke/", revoke, name="credentials_apikey_revoke"), *super().get_urls()]

    def get_fields(self, request: HttpRequest, obj: ApiKey | None = None) -> Iterable[str]:
        if obj:
            own = ("display_permissions", "expires_at", "prefix", "created_at", "last_used_at", "revoked_at")
            return ("name", "owner", "university", *own)
        # Only superusers give keys to others, because no owner of a key has more rights than a superuser.
        return _FIELDS if request.user.is_superuser else [field for field in _FIELDS if field != "owner"]

    def get_form(self, request: HttpRequest, obj: ApiKey | None = None, change: bool = False, **kwargs: Any) -> Any:
        return super().get_form(request, obj, change, help_texts={"expires_at": _EXPIRY}, **kwargs)

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        later = timezone.now() + _LIFETIME
        return {"owner": request.user.pk, "expires_at": later, **super().get_changeform_initial_data(request)}

    def formfield_for_manytomany(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        chosen = Q()
        for app, codenames in API_PERMISSIONS.items():
            chosen |= Q(content_type__app_label=app, codename__in=codenames)
        permissions = Permission.objects.filter(chosen).select_related("content_type")
        field = forms.ModelMultipleChoiceField(
            permissions, label=db_field.verbose_name, widget=UnfoldAdminCheckboxSelectMultipleWidget
        )
        field.label_from_instance = permission_label  # type: ignore[method-assign, assignment]
        return field

    def has_change_permission(self, request: HttpRequest, obj: ApiKey | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: ApiKey | None = None) -> bool:
        return False

    def save_model(self, request: HttpRequest, obj: ApiKey, form: Any, change: bool) -> None:
        if not request.user.is_superuser:
            obj.owner = request.user  # type: ignore[assignment]
        request.new_key = obj.generate()  # type: ignore[attr-defined]
        super().save_model(request, obj, form, change)

    def response_add(self, request: HttpRequest, obj: ApiKey, post_url_continue: str | None = None) -> HttpResponse:
        """Show the key in the response itself: a message after a redirect would be stored in a cookie."""
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": _("The API key is created"),
            "key": request.new_key,  # type: ignore[attr-defined]
            "page": reverse("admin:credentials_apikey_changelist"),
        }
        return TemplateResponse(request, "admin/api_key_created.html", context)

    def revoke(self, request: HttpRequest, pk: int) -> HttpResponse:
        key = self.get_object(request, str(pk))
        if key is None:
            raise Http404
        if not self.may_revoke(request, key):
            raise PermissionDenied
        page = reverse("admin:credentials_apikey_change", args=[pk])
        if request.method != "POST":
            text = _("Requests with the key “%(name)s” will be refused at once. This cannot be undone.")
            context = {**self.admin_site.each_context(request), "opts": self.opts, "title": _REVOKE, "page": page}
            context |= {"alert": {"text": text % {"name": key.name}}, "form": forms.Form()}
            return TemplateResponse(request, "admin/alert_answer.html", context)
        ApiKey.objects.filter(pk=pk, revoked_at=None).update(revoked_at=timezone.now())
        audit_log.record(request, audit_log.action_message(_REVOKE), key)
        messages.success(request, _("The API key is revoked."))
        return HttpResponseRedirect(page)

    def may_revoke(self, request: HttpRequest, key: ApiKey) -> bool:
        return key.revoked_at is None and request.user.has_perm("credentials.change_apikey")

    def render_change_form(self, request: HttpRequest, context: Any, *args: Any, **kwargs: Any) -> HttpResponse:
        context["may_revoke"] = context["original"] is not None and self.may_revoke(request, context["original"])
        response: HttpResponse = super().render_change_form(request, context, *args, **kwargs)
        return response

    @display(description=gettext_lazy("permissions"))
    def display_permissions(self, key: ApiKey) -> str:
        permissions = key.permissions.select_related("content_type")
        return format_html_join(mark_safe("<br>"), "{}", ((permission_label(each),) for each in permissions))

    @display(
        description=gettext_lazy("state"),
        label={"valid": "success", "revoked": "danger", "expired": "warning", "closed": "danger"},
    )
    def display_state(self, key: ApiKey) -> tuple[str, str]:
        if key.revoked_at:
            return "revoked", _("revoked")
        if key.expires_at <= timezone.now():
            return "expired", _("expired")
        return ("valid", _("valid")) if key.owner.is_active else ("closed", _("owner deactivated"))
