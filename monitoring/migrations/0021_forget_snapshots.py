from django.db import migrations


class Migration(migrations.Migration):
    """Charts read the indicators. The table stays for the previous release, until a later release drops it."""

    dependencies = [("monitoring", "0020_name_the_gates")]

    operations = [migrations.SeparateDatabaseAndState(state_operations=[migrations.DeleteModel("Snapshot")])]
