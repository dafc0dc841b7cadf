from django.db import migrations

# Whoever changes the inbox, by whatever tool, is counted in the same transaction; nobody waits for a shared row. An
# arrival is counted when it is settled, so the receiver pays nothing but for what it quarantines. Deletions (pruning,
# erasure) count nothing: what has happened stays counted.
CREATE = """
CREATE FUNCTION monitoring_bucket(ms double precision) RETURNS smallint LANGUAGE sql IMMUTABLE AS
    'SELECT round(ln(CASE WHEN ms < 0.001 THEN 0.001 ELSE ms END) / ln(1.05))::smallint';

CREATE FUNCTION monitoring_count_settled() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO monitoring_trafficdelta (at, kind, update_type, reason, bucket, n, extracted, stored, ms)
    VALUES (date_trunc('minute', NEW.received_at), NEW.state, NEW.update_type, NEW.reason,
        monitoring_bucket(NEW.processing_ms), 1, NEW.has_names::int, NEW.has_changed_profile::int,
        coalesce(NEW.processing_ms, 0));
    RETURN NULL;
END $$;
CREATE TRIGGER monitoring_settled AFTER INSERT ON webhook_inbox
    FOR EACH ROW WHEN (NEW.state <> 'pending') EXECUTE FUNCTION monitoring_count_settled();

CREATE FUNCTION monitoring_count_changes() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO monitoring_trafficdelta (at, kind, update_type, reason, bucket, n, extracted, stored, ms)
    SELECT date_trunc('minute', received_at), state, update_type, reason, monitoring_bucket(processing_ms),
        sum(sign), sum(sign * has_names::int), sum(sign * has_changed_profile::int),
        sum(sign * coalesce(processing_ms, 0))
    FROM (
        SELECT 1 AS sign, received_at, state, update_type, reason, processing_ms, has_names, has_changed_profile
        FROM became WHERE state <> 'pending'
        UNION ALL
        SELECT -1, received_at, state, update_type, reason, processing_ms, has_names, has_changed_profile
        FROM was WHERE state <> 'pending'
    ) AS changes
    GROUP BY 1, 2, 3, 4, 5
    HAVING sum(sign) <> 0 OR sum(sign * has_names::int) <> 0 OR sum(sign * has_changed_profile::int) <> 0;
    RETURN NULL;
END $$;
CREATE TRIGGER monitoring_changes AFTER UPDATE ON webhook_inbox
    REFERENCING OLD TABLE AS was NEW TABLE AS became
    FOR EACH STATEMENT EXECUTE FUNCTION monitoring_count_changes();

CREATE FUNCTION monitoring_count_repeats() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO monitoring_trafficdelta (at, kind, update_type, reason, n, extracted, stored, ms)
    SELECT date_trunc('minute', received_at), 'repeat', update_type, '', count(*), 0, 0, 0
    FROM arrived GROUP BY 1, 3;
    RETURN NULL;
END $$;
CREATE TRIGGER monitoring_repeats AFTER INSERT ON webhook_repeats
    REFERENCING NEW TABLE AS arrived
    FOR EACH STATEMENT EXECUTE FUNCTION monitoring_count_repeats();
"""
# In the same transaction, whose triggers keep writers away: what came before them is counted once, by this.
COUNT_WHAT_IS_THERE = """
INSERT INTO monitoring_trafficdelta (at, kind, update_type, reason, bucket, n, extracted, stored, ms)
SELECT date_trunc('minute', received_at), state, update_type, reason, monitoring_bucket(processing_ms),
    count(*), sum(has_names::int), sum(has_changed_profile::int), sum(coalesce(processing_ms, 0))
FROM webhook_inbox WHERE state <> 'pending' GROUP BY 1, 2, 3, 4, 5
UNION ALL
SELECT date_trunc('minute', received_at), 'repeat', update_type, '', NULL, count(*), 0, 0, 0
FROM webhook_repeats GROUP BY 1, 3;
"""
DROP = """
DROP TRIGGER monitoring_repeats ON webhook_repeats;
DROP TRIGGER monitoring_changes ON webhook_inbox;
DROP TRIGGER monitoring_settled ON webhook_inbox;
DROP FUNCTION monitoring_count_repeats();
DROP FUNCTION monitoring_count_changes();
DROP FUNCTION monitoring_count_settled();
DROP FUNCTION monitoring_bucket(double precision);
TRUNCATE monitoring_trafficdelta, monitoring_traffic;
"""


class Migration(migrations.Migration):
    dependencies = [("monitoring", "0004_counts_of_the_webhook"), ("webhooks", "0002_counted_index")]

    operations = [
        migrations.RunSQL(CREATE, DROP),
        migrations.RunSQL(COUNT_WHAT_IS_THERE, migrations.RunSQL.noop),
    ]
