"""Revokes a user's log-ins when the password changes or rights are taken away, even by SQL or the previous release."""

from django.db import migrations

from config.lib.migration_operations import RetryOnLock

# The argument of the triggers is the column with the user's id.
CREATE = """
CREATE FUNCTION revoke_log_ins() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    WITH revoked AS (
        UPDATE log_ins SET revoked_at = clock_timestamp()
        WHERE user_id = (to_jsonb(OLD) ->> TG_ARGV[0])::integer AND revoked_at IS NULL
        RETURNING session_key
    )
    DELETE FROM django_session USING revoked WHERE django_session.session_key = revoked.session_key;
    RETURN NULL;
END $$;
CREATE TRIGGER users_revoke_log_ins AFTER UPDATE OF password, is_active, is_staff, is_superuser ON auth_user
    FOR EACH ROW WHEN (
        OLD.password <> NEW.password OR OLD.is_active > NEW.is_active OR OLD.is_staff > NEW.is_staff
        OR OLD.is_superuser > NEW.is_superuser
    ) EXECUTE FUNCTION revoke_log_ins('id');
CREATE TRIGGER groups_revoke_log_ins AFTER DELETE ON auth_user_groups
    FOR EACH ROW EXECUTE FUNCTION revoke_log_ins('user_id');
CREATE TRIGGER permissions_revoke_log_ins AFTER DELETE ON auth_user_user_permissions
    FOR EACH ROW EXECUTE FUNCTION revoke_log_ins('user_id');
"""
DROP = """
DROP TRIGGER permissions_revoke_log_ins ON auth_user_user_permissions;
DROP TRIGGER groups_revoke_log_ins ON auth_user_groups;
DROP TRIGGER users_revoke_log_ins ON auth_user;
DROP FUNCTION revoke_log_ins();
"""


class Migration(migrations.Migration):
    atomic = False
    dependencies = [
        ("credentials", "0001_log_ins_and_api_keys"),
        ("auth", "0012_alter_user_first_name_max_length"),
        ("sessions", "0001_initial"),
    ]

    operations = [RetryOnLock(migrations.RunSQL(CREATE, DROP))]
