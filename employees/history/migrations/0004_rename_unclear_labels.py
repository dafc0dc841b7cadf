from django.db import migrations, models


class Migration(migrations.Migration):
    """Change labels only; no statement is run."""

    dependencies = [
        ("employee_history", "0003_former_max_id_claims"),
    ]

    operations = [
        migrations.AlterModelOptions(
            name="formermaxidclaim",
            options={
                "verbose_name": "former manually entered MAX ID",
                "verbose_name_plural": "former manually entered MAX IDs",
            },
        ),
        migrations.AlterField(
            model_name="formermaxidclaim",
            name="max_id",
            field=models.CharField(max_length=64, verbose_name="MAX ID"),
        ),
        migrations.AlterField(
            model_name="historicalemployee",
            name="max_id",
            field=models.CharField(blank=True, max_length=64, null=True, verbose_name="MAX ID"),
        ),
        migrations.AlterField(
            model_name="historicalemployee",
            name="max_id_updated_at",
            field=models.DateTimeField(blank=True, null=True, verbose_name="MAX ID updated at"),
        ),
    ]
