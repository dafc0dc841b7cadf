"""Pages of lists are titled by what they list."""

import pytest
from django.contrib import admin
from django.test import Client
from django.utils.text import capfirst

from config.lib.admin import ModelAdmin


@pytest.mark.django_db
@pytest.mark.usefixtures("redis")
def test_a_list_has_its_own_name(admin_client: Client) -> None:
    listed = [model for model, own in admin.site._registry.items() if isinstance(own, ModelAdmin)]
    for model in listed:
        meta = model._meta
        response = admin_client.get(f"/admin/{meta.app_label}/{meta.model_name}/")
        if response.status_code == 200 and response.context:
            assert str(response.context["title"]) == capfirst(str(meta.verbose_name_plural)), meta.label
