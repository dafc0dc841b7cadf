from django.contrib.postgres.operations import BtreeGinExtension
from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("employees", "0014_guarded_way_back")]

    operations = [BtreeGinExtension()]
