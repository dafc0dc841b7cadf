from django.contrib import admin
from unfold.admin import ModelAdmin

from webhooks.models import InboxUpdate, Repeat


@admin.register(InboxUpdate)
class InboxUpdateAdmin(ModelAdmin):
    list_display = ("id", "update_type", "state", "user_id", "received_at", "finished_at", "reason")
    list_filter = ("state", "update_type")
    search_fields = ("user_id",)
    # The body is personal data: it has no place in a form.
    exclude = ("body", "dedup_key")
    show_full_result_count = False

    def has_add_permission(self, request: object) -> bool:
        return False

    def has_change_permission(self, request: object, obj: object = None) -> bool:
        return False


@admin.register(Repeat)
class RepeatAdmin(ModelAdmin):
    list_display = ("update_type", "received_at")
    list_filter = ("update_type",)
    show_full_result_count = False

    def has_add_permission(self, request: object) -> bool:
        return False

    def has_change_permission(self, request: object, obj: object = None) -> bool:
        return False
