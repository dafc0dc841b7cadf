from django.contrib import admin
from unfold.admin import ModelAdmin

from profiles.models import Profile


@admin.register(Profile)
class ProfileAdmin(ModelAdmin):
    list_display = ("user_id", "first_name", "last_name", "user_provided_name", "source", "last_updated")
    list_filter = ("source",)
    search_fields = ("user_id", "first_name", "last_name", "user_provided_name")
    readonly_fields = ("source", "is_cache_behind")
    show_full_result_count = False
