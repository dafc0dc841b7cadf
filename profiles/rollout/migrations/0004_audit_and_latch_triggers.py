from django.db import migrations

# Whoever reaches the table, by whatever tool: the audit only grows, and only a resume clears the latch of an emergency
# (a bare switch that code turned on, as waffle's test helper does, it may turn off again).
CREATE = """
CREATE FUNCTION rollout_refuse_rewriting() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'rows of the rollout''s audit are never edited or deleted' USING ERRCODE = 'check_violation';
END $$;
CREATE TRIGGER rollout_change_only_grows BEFORE UPDATE OR DELETE ON rollout_change
    FOR EACH ROW EXECUTE FUNCTION rollout_refuse_rewriting();

CREATE FUNCTION rollout_keep_latch() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.name = 'emergency_stop' AND OLD.active
       AND (TG_OP = 'DELETE' OR NEW.name <> OLD.name OR NOT NEW.active)
       AND current_setting('rollout.resuming', true) IS DISTINCT FROM 'on'
       AND EXISTS (SELECT 1 FROM rollout_rollout WHERE remembered <> '{}') THEN
        RAISE EXCEPTION 'The emergency stop is latched: only "rollout resume --reason ..." clears it'
            USING ERRCODE = 'check_violation';
    END IF;
    RETURN CASE TG_OP WHEN 'DELETE' THEN OLD ELSE NEW END;
END $$;
CREATE TRIGGER rollout_latch BEFORE UPDATE OR DELETE ON waffle_switch
    FOR EACH ROW EXECUTE FUNCTION rollout_keep_latch();
"""
DROP = """
DROP TRIGGER rollout_latch ON waffle_switch;
DROP FUNCTION rollout_keep_latch();
DROP TRIGGER rollout_change_only_grows ON rollout_change;
DROP FUNCTION rollout_refuse_rewriting();
"""


class Migration(migrations.Migration):
    dependencies = [("rollout", "0003_rollout_and_audit"), ("waffle", "0004_update_everyone_nullbooleanfield")]

    operations = [migrations.RunSQL(CREATE, DROP)]
