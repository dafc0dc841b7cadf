from django.db import migrations


class Migration(migrations.Migration):
    """The tables, and the codenames of the permissions that groups hold, keep their names."""

    dependencies = [("webhooks", "0005_admin_indexes"), ("monitoring", "0009_permission_groups")]

    operations = [
        migrations.RenameModel(old_name="Repeat", new_name="DuplicateDelivery"),
        migrations.RenameModel(old_name="RawLook", new_name="PayloadAccess"),
        migrations.AlterModelOptions(
            name="duplicatedelivery",
            options={
                "default_permissions": (),
                "permissions": [
                    ("add_repeat", "Can add duplicate delivery"),
                    ("change_repeat", "Can change duplicate delivery"),
                    ("delete_repeat", "Can delete duplicate delivery"),
                    ("view_repeat", "Can view duplicate delivery"),
                ],
                "verbose_name": "duplicate delivery",
                "verbose_name_plural": "duplicate deliveries",
            },
        ),
        migrations.AlterModelOptions(
            name="payloadaccess",
            options={
                "default_permissions": (),
                "ordering": ["-at"],
                "permissions": [
                    ("view_raw_body", "Can see the body of an update"),
                    ("add_rawlook", "Can add payload access"),
                    ("change_rawlook", "Can change payload access"),
                    ("delete_rawlook", "Can delete payload access"),
                    ("view_rawlook", "Can view payload access"),
                ],
                "verbose_name": "payload access",
                "verbose_name_plural": "payload accesses",
            },
        ),
    ]
