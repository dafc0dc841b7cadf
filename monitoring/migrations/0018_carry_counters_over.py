"""Let growth within the last day go on where the release before measured it, in the samples of its alerts."""

from django.db import migrations

CARRY_OVER = """
INSERT INTO monitoring_indicatorreading (round_at, measured_at, name, value, level, data, message)
SELECT at, at, CASE name WHEN 'evicted_keys' THEN 'evictions' ELSE name END, 0, 'ok',
    jsonb_build_object('counter', value, 'grown', sum(grown) OVER (PARTITION BY name ORDER BY at)),
    '{"msgid": "ok", "words": {}}'
FROM (
    SELECT name, at, value, CASE WHEN before IS NULL THEN 0 WHEN value >= before THEN value - before ELSE value END AS grown
    FROM (SELECT name, at, value, lag(value) OVER (PARTITION BY name ORDER BY at) AS before FROM monitoring_sample
          WHERE name IN ('evicted_keys', 'secret_failures')) AS samples
) AS growths
ON CONFLICT DO NOTHING
"""


class Migration(migrations.Migration):
    dependencies = [("monitoring", "0017_order_the_gates")]

    operations = [migrations.RunSQL(CARRY_OVER, migrations.RunSQL.noop)]
