"""Ends a user's sessions and tokens when the second factor is removed, whichever program removes it."""

from django.db import migrations

CREATE = """
CREATE TRIGGER second_factors_revoke_log_ins AFTER DELETE ON mfa_authenticator
    FOR EACH ROW WHEN (OLD.type = 'totp') EXECUTE FUNCTION revoke_log_ins('user_id');
"""
DROP = "DROP TRIGGER second_factors_revoke_log_ins ON mfa_authenticator;"


class Migration(migrations.Migration):
    dependencies = [
        ("credentials", "0003_login_has_second_factor"),
        ("mfa", "0003_authenticator_type_uniq"),
    ]

    operations = [migrations.RunSQL(CREATE, DROP)]
