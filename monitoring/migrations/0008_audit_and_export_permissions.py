from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("monitoring", "0007_kept_figures")]

    operations = [
        migrations.AlterModelOptions(
            name="signature",
            options={
                "ordering": ["-signed_at"],
                "permissions": [
                    ("view_audit", "Can see the audit trail"),
                    ("export_employees", "Can export the employees"),
                ],
                "verbose_name": "signature",
                "verbose_name_plural": "signatures",
            },
        ),
    ]
