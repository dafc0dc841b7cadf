"""Users and groups in the theme's dress, with permissions in the reader's language; the scope of people's data.

Neither profiles nor updates know of universities: here they are kept to those whom employees.accounts lets.
"""

from functools import reduce
from operator import or_
from typing import Any

from django.contrib import admin
from django.contrib.admin.models import LogEntry
from django.contrib.auth.admin import GroupAdmin, UserAdmin
from django.contrib.auth.models import Group, Permission, User
from django.db.models import Exists, OuterRef, QuerySet
from django.forms import ModelMultipleChoiceField
from django.http import HttpRequest
from django.utils.text import capfirst
from django.utils.translation import gettext_lazy as _
from rest_framework_simplejwt.token_blacklist.models import BlacklistedToken, OutstandingToken
from unfold.admin import ModelAdmin
from unfold.forms import AdminPasswordChangeForm, UserChangeForm, UserCreationForm

from config.lib.audit_log import AuditedAdmin, LoggedByCode
from employees.admin import admin_scope
from employees.history.models import EmployeeVersion, UniversityVersion
from employees.models import BackfillRun, MaxIdJob
from monitoring.dashboard.access import requires_global_scope
from profiles.admin import ErasureAdmin, PhoneLinkAdmin, ProfileAdmin
from profiles.models import PhoneLink, Profile
from profiles.models.tombstones import Erasure
from profiles.rollout import presenters
from profiles.rollout.models import Change, Plan
from webhooks.admin.inbox import DuplicateDeliveryAdmin, InboxUpdateAdmin, PayloadAccessAdmin, ReplayAdmin
from webhooks.models import DuplicateDelivery, InboxUpdate, PayloadAccess, Replay

admin.site.unregister([User, Group, Profile, PhoneLink, Erasure, InboxUpdate, PayloadAccess, DuplicateDelivery, Replay])
# Nobody has to do with tokens one by one: a chain ends by a new password, or when its user is no longer active.
admin.site.unregister([OutstandingToken, BlacklistedToken])


_VERBS = {"add": _("Can add %s"), "change": _("Can change %s"), "delete": _("Can delete %s"), "view": _("Can view %s")}

# Apps without a page in the admin: a permission of theirs would open nothing.
_UNSEEN = ("axes", "contenttypes", "sessions", "token_blacklist")


def _in_words(permission: Permission) -> str:
    """Return “app: what it allows”: by the model's own words, or those that were written for it."""
    model: Any = permission.content_type.model_class()
    if model is None:
        return permission.name
    opts = model._meta  # noqa: SLF001 (documented by Django)
    verb, _sep, rest = permission.codename.partition("_")
    if verb not in _VERBS or rest != getattr(model, "permission_name", opts.model_name):
        text = dict(opts.permissions).get(permission.codename, permission.name)
    else:
        text = str(_VERBS[verb]) % opts.verbose_name_plural
    return f"{opts.app_config.verbose_name}: {text}"


def _worded(field: Any) -> Any:
    if isinstance(field, ModelMultipleChoiceField):
        field.queryset = Permission.objects.exclude(content_type__app_label__in=_UNSEEN).select_related("content_type")
        field.label_from_instance = _in_words  # type: ignore[assignment,method-assign]
    return field


class WithoutJoins(ModelAdmin):
    """Says what goes with a user or a group, without the rows of the tables between: Django words them at the start."""

    def kept(self, objs: Any) -> list[str]:
        """Return why some of them stay, a sentence each."""
        raise NotImplementedError

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        """Refuse what must stay, by sentences that take the place of what would go."""
        if kept := self.kept(objs):
            return [], {}, set(), kept
        objects, counts, refused, protected = super().get_deleted_objects(objs, request)
        joins = [field.remote_field.through for field in self.opts.many_to_many]
        joins += [relation.through for relation in self.opts.related_objects if relation.many_to_many]
        beginnings = tuple(f"{capfirst(join._meta.verbose_name)}: " for join in joins)  # noqa: SLF001 (documented)
        for join in joins:
            counts.pop(join._meta.verbose_name_plural, None)  # noqa: SLF001 (documented)
        return _without(objects, beginnings), counts, refused, protected


def _without(rows: list[Any], beginnings: tuple[str, ...]) -> list[Any]:
    kept = [row if isinstance(row, str) else _without(row, beginnings) for row in rows]
    return [row for row in kept if row and not (isinstance(row, str) and row.startswith(beginnings))]


# Each with the field that names the user: by number, or by the login alone.
_TRACES: list[tuple[QuerySet[Any], str, str]] = [
    (LogEntry.objects.all(), "user", "pk"),
    (EmployeeVersion.objects.all(), "history_user", "pk"),
    (UniversityVersion.objects.all(), "history_user", "pk"),
    (BackfillRun.objects.all(), "requested_by", "pk"),
    (MaxIdJob.objects.all(), "requested_by", "pk"),
    *((rows, "by", "username") for rows in (Change.objects.all(), Plan.objects.all(), Replay.objects.all())),
    *((rows, "by", "username") for rows in (PayloadAccess.objects.all(), Erasure.objects.all())),
]


@admin.register(User)
class PeopleAdmin(WithoutJoins, AuditedAdmin, UserAdmin, ModelAdmin):  # type: ignore[type-arg]
    form = UserChangeForm
    add_form = UserCreationForm
    change_password_form = AdminPasswordChangeForm
    list_display = ("username", "email", "is_staff", "is_superuser", "last_login")

    def kept(self, objs: Any) -> list[str]:
        """Keep whoever did something: their rows would go, or name nobody, or whoever takes the free name next."""
        traces = [Exists(rows.filter(**{field: OuterRef(name)})) for rows, field, name in _TRACES]
        acted = User.objects.filter(reduce(or_, traces), pk__in=[one.pk for one in objs])
        text = _("%s: their deeds are in the audit trail, and would go from it; take “active” away instead")
        return [text % user.get_username() for user in acted.order_by("pk")]

    def formfield_for_manytomany(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        field = super().formfield_for_manytomany(db_field, request, **kwargs)
        return _worded(field) if db_field.name == "user_permissions" else field


@admin.register(Group)
class PeopleGroupAdmin(WithoutJoins, LoggedByCode, GroupAdmin, ModelAdmin):
    list_display = ("named",)
    readonly_fields = ("named",)

    @admin.display(description=_("name"), ordering="name")
    def named(self, group: Group) -> str:
        return presenters.with_code(group.name)

    def get_fields(self, request: HttpRequest, obj: Group | None = None) -> Any:
        """Only show a name that the code knows: a renamed group would take its limits along."""
        return ("named" if obj and obj.name in presenters.ROLES else "name", "permissions")

    def kept(self, objs: Any) -> list[str]:
        text = _("%s: the system knows this group by its name; take its users or permissions away instead")
        return [text % presenters.name_of(group.name) for group in objs if group.name in presenters.ROLES]

    def formfield_for_manytomany(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        return _worded(super().formfield_for_manytomany(db_field, request, **kwargs))


@admin.register(Profile)
class ScopedProfileAdmin(ProfileAdmin):
    """Who looks after one university sees the profiles of its employees."""

    def get_queryset(self, request: HttpRequest) -> QuerySet[Profile]:
        profiles: QuerySet[Profile] = super().get_queryset(request)
        scope = admin_scope(request)
        return profiles.filter(pk__in=scope.profiles().values("pk")) if scope else profiles


class RequiresGlobalScope(ModelAdmin):
    """Pages for those who look after the whole system: the university of an update or a MAX id is not known."""

    def get_urls(self) -> list[Any]:
        urls: list[Any] = super().get_urls()
        for url in urls:
            url.callback = requires_global_scope(url.callback)
        return urls


@admin.register(InboxUpdate)
class WholeInboxAdmin(RequiresGlobalScope, InboxUpdateAdmin):
    pass


@admin.register(DuplicateDelivery)
class WholeDuplicateDeliveryAdmin(RequiresGlobalScope, DuplicateDeliveryAdmin):
    pass


@admin.register(Replay)
class WholeReplayAdmin(RequiresGlobalScope, ReplayAdmin):
    pass


@admin.register(PayloadAccess)
class WholePayloadAccessAdmin(RequiresGlobalScope, PayloadAccessAdmin):
    pass


@admin.register(PhoneLink)
class WholePhoneLinkAdmin(RequiresGlobalScope, PhoneLinkAdmin):
    pass


@admin.register(Erasure)
class WholeErasureAdmin(RequiresGlobalScope, ErasureAdmin):
    pass
