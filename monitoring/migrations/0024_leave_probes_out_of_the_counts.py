from django.db import migrations

# The system's own probes, whose request ids begin with “synthetic-”, are no traffic: neither the updates nor their
# repeated deliveries count. What was counted before this migration stays counted.
FUNCTIONS = """
CREATE OR REPLACE FUNCTION monitoring_count_settled() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO monitoring_trafficdelta (at, kind, update_type, reason, bucket, n, extracted, stored, ms)
    SELECT date_trunc('minute', NEW.received_at), NEW.state, NEW.update_type, NEW.reason,
        monitoring_bucket(NEW.processing_ms), 1, NEW.has_names::int, NEW.has_changed_profile::int,
        coalesce(NEW.processing_ms, 0)
    {of_new};
    RETURN NULL;
END $$;
CREATE OR REPLACE FUNCTION monitoring_count_changes() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO monitoring_trafficdelta (at, kind, update_type, reason, bucket, n, extracted, stored, ms)
    SELECT date_trunc('minute', received_at), state, update_type, reason, monitoring_bucket(processing_ms),
        sum(sign), sum(sign * has_names::int), sum(sign * has_changed_profile::int),
        sum(sign * coalesce(processing_ms, 0))
    FROM (
        SELECT 1 AS sign, received_at, state, update_type, reason, processing_ms, has_names, has_changed_profile
        FROM became WHERE state <> 'pending' {of_rows}
        UNION ALL
        SELECT -1, received_at, state, update_type, reason, processing_ms, has_names, has_changed_profile
        FROM was WHERE state <> 'pending' {of_rows}
    ) AS changes
    GROUP BY 1, 2, 3, 4, 5
    HAVING sum(sign) <> 0 OR sum(sign * has_names::int) <> 0 OR sum(sign * has_changed_profile::int) <> 0;
    RETURN NULL;
END $$;
CREATE OR REPLACE FUNCTION monitoring_count_repeats() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    -- Planned each time: a plan that was kept from a small inbox would scan a large one for each repeat.
    EXECUTE $sql$
        INSERT INTO monitoring_trafficdelta (at, kind, update_type, reason, n, extracted, stored, ms)
        SELECT date_trunc('minute', received_at), 'repeat', update_type, '', count(*), 0, 0, 0
        FROM arrived {of_repeats} GROUP BY 1, 3
    $sql$;
    RETURN NULL;
END $$;
"""
WITHOUT_PROBES = FUNCTIONS.format(
    of_new="WHERE NEW.request_id NOT LIKE 'synthetic-%'",
    of_rows="AND request_id NOT LIKE 'synthetic-%'",
    of_repeats="""WHERE NOT EXISTS (
        SELECT FROM webhook_inbox AS first WHERE first.dedup_key = arrived.dedup_key
        AND first.request_id LIKE 'synthetic-%'
    )""",
)
WITH_PROBES = FUNCTIONS.format(of_new="", of_rows="", of_repeats="")


class Migration(migrations.Migration):
    dependencies = [("monitoring", "0023_rename_alert_labels"), ("webhooks", "0008_rename_inbox_labels")]

    operations = [migrations.RunSQL(WITHOUT_PROBES, WITH_PROBES)]
