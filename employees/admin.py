from django.contrib import admin
from unfold.admin import ModelAdmin

from employees.models import Employee, University


@admin.register(University)
class UniversityAdmin(ModelAdmin):
    list_display = ("name", "inn", "kpp")
    search_fields = ("name", "inn")


@admin.register(Employee)
class EmployeeAdmin(ModelAdmin):
    list_display = ("last_name", "first_name", "phone", "max_id", "profile_source", "university")
    list_filter = ("profile_source", "role")
    list_select_related = ("university",)
    search_fields = ("last_name", "first_name", "phone", "max_id")
    autocomplete_fields = ("university",)
    show_full_result_count = False
