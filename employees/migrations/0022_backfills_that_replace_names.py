from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("employees", "0021_canonical_from_the_start")]

    operations = [
        migrations.AddField(
            model_name="backfillrun",
            name="replaces_names",
            field=models.BooleanField(
                db_default=False,
                default=False,
                help_text="also replace names from the direct API and outdated ones from the cache, for people that"
                " the rollout admits to the cache; otherwise only employees without a name get one",
                verbose_name="replace names",
            ),
        ),
    ]
