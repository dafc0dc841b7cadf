from django.db import migrations

# The bucket of profiles.rollout.decision.bucket. A body that is parsed now looks nothing up by search_path later, and
# unlike convert_to() a cast is immutable, so that the planner puts the expression in place of each call. The cast reads
# a backslash as the beginning of a code, hence the two for each one.
CREATE = r"""
CREATE FUNCTION rollout_bucket(salt text, key text) RETURNS integer LANGUAGE sql IMMUTABLE PARALLEL SAFE STRICT
RETURN (('x' || encode(substr(sha256(replace('v1:' || salt || ':' || key, '\', '\\')::bytea), 1, 4), 'hex'))::bit(32)
    ::bigint % 10000)::integer
"""


class Migration(migrations.Migration):
    dependencies = [("rollout", "0009_name_more_choices")]

    operations = [migrations.RunSQL([CREATE], ["DROP FUNCTION rollout_bucket(text, text)"])]
