from typing import ClassVar

from django.contrib import admin
from unfold.admin import ModelAdmin
from waffle.models import Sample, Switch

from profiles.rollout.models import Flag

for model in (Flag, Switch, Sample):
    if admin.site.is_registered(model):
        admin.site.unregister(model)


@admin.register(Flag)
class FlagAdmin(ModelAdmin):
    list_display = ("name", "percent", "everyone", "modified")
    fields = ("name", "percent", "everyone", "salt", "note")
    readonly_fields: ClassVar = ["salt"]


@admin.register(Switch)
class SwitchAdmin(ModelAdmin):
    list_display = ("name", "active", "modified")
    fields = ("name", "active", "note")
