from django.db import migrations


class Migration(migrations.Migration):
    """The tables, and the codenames of the permissions that groups hold, keep their names."""

    dependencies = [("rollout", "0010_bucket_function"), ("monitoring", "0009_permission_groups")]

    operations = [
        migrations.AlterModelTable(name="Scope", table="rollout_scope"),
        migrations.RenameModel(old_name="Scope", new_name="UniversityRule"),
        migrations.AlterModelOptions(
            name="universityrule",
            options={
                "default_permissions": (),
                "permissions": [
                    ("add_scope", "Can add university rule"),
                    ("change_scope", "Can change university rule"),
                    ("delete_scope", "Can delete university rule"),
                    ("view_scope", "Can view university rule"),
                ],
                "verbose_name": "university rule",
                "verbose_name_plural": "university rules",
            },
        ),
    ]
