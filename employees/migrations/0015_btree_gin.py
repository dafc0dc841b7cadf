from django.contrib.postgres.operations import BtreeGinExtension
from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("employees", "0013_created_at_index")]

    operations = [BtreeGinExtension()]
