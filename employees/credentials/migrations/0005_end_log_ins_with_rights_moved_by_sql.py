"""Ends a user's sessions and tokens when SQL moves a group or permission away, or when a group loses a permission."""

from django.db import migrations

from config.lib.migration_operations import RetryOnLock

CREATE = """
CREATE FUNCTION revoke_log_ins_of_group() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    WITH revoked AS (
        UPDATE log_ins SET revoked_at = clock_timestamp()
        WHERE user_id IN (SELECT user_id FROM auth_user_groups WHERE group_id = OLD.group_id) AND revoked_at IS NULL
        RETURNING session_key
    )
    DELETE FROM django_session USING revoked WHERE django_session.session_key = revoked.session_key;
    RETURN NULL;
END $$;
CREATE TRIGGER moved_groups_revoke_log_ins AFTER UPDATE OF user_id, group_id ON auth_user_groups
    FOR EACH ROW WHEN ((OLD.user_id, OLD.group_id) IS DISTINCT FROM (NEW.user_id, NEW.group_id))
    EXECUTE FUNCTION revoke_log_ins('user_id');
CREATE TRIGGER moved_permissions_revoke_log_ins AFTER UPDATE OF user_id, permission_id ON auth_user_user_permissions
    FOR EACH ROW WHEN ((OLD.user_id, OLD.permission_id) IS DISTINCT FROM (NEW.user_id, NEW.permission_id))
    EXECUTE FUNCTION revoke_log_ins('user_id');
CREATE TRIGGER group_permissions_revoke_log_ins AFTER DELETE ON auth_group_permissions
    FOR EACH ROW EXECUTE FUNCTION revoke_log_ins_of_group();
CREATE TRIGGER moved_group_permissions_revoke_log_ins AFTER UPDATE OF group_id, permission_id ON auth_group_permissions
    FOR EACH ROW WHEN ((OLD.group_id, OLD.permission_id) IS DISTINCT FROM (NEW.group_id, NEW.permission_id))
    EXECUTE FUNCTION revoke_log_ins_of_group();
"""
DROP = """
DROP TRIGGER moved_group_permissions_revoke_log_ins ON auth_group_permissions;
DROP TRIGGER group_permissions_revoke_log_ins ON auth_group_permissions;
DROP TRIGGER moved_permissions_revoke_log_ins ON auth_user_user_permissions;
DROP TRIGGER moved_groups_revoke_log_ins ON auth_user_groups;
DROP FUNCTION revoke_log_ins_of_group();
"""


class Migration(migrations.Migration):
    atomic = False
    dependencies = [
        ("credentials", "0004_end_log_ins_with_the_second_factor"),
        ("auth", "0012_alter_user_first_name_max_length"),
    ]

    operations = [RetryOnLock(migrations.RunSQL(CREATE, DROP))]
