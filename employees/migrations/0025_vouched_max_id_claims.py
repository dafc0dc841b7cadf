from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("employees", "0024_import_files")]

    operations = [
        migrations.AddField(
            model_name="maxidclaim",
            name="is_vouched",
            field=models.BooleanField(
                db_default=False, default=False, verbose_name="entered by a user who sees all universities"
            ),
        ),
    ]
