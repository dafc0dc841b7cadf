"""Serializers that describe the reports in the OpenAPI schema; the views return the reports unchanged."""

from typing import Any

from rest_framework import serializers

from profiles.rollout.models import Plan


class ReportSerializer(serializers.Serializer[Any]):
    age_seconds = serializers.FloatField(help_text="how old the numbers are; 0: counted for this answer")
    degraded = serializers.BooleanField(help_text="a store does not answer: these are the last good numbers")


class CoverageSerializer(ReportSerializer):
    total_users = serializers.IntegerField()
    users_with_profiles = serializers.IntegerField()
    users_with_full_names = serializers.IntegerField()
    coverage_percentage = serializers.FloatField()
    full_name_percentage = serializers.FloatField()
    profiles_by_source = serializers.DictField(child=serializers.IntegerField())
    employees_by_source = serializers.DictField(child=serializers.IntegerField())
    last_updated = serializers.DateTimeField()


class OriginalProfileStatsSerializer(CoverageSerializer):
    total_profiles = serializers.IntegerField()
    complete_profiles = serializers.IntegerField()
    completeness_rate = serializers.FloatField(help_text="complete profiles ÷ all profiles, 0 to 1")
    source_breakdown = serializers.DictField(child=serializers.IntegerField(), help_text="as profiles_by_source")


class QualityMetricsSerializer(serializers.Serializer[Any]):
    complete_profiles = serializers.IntegerField()
    partial_profiles = serializers.IntegerField()
    empty_profiles = serializers.IntegerField()
    stale_profiles = serializers.IntegerField()
    quality_score = serializers.FloatField()
    completeness_score = serializers.FloatField()
    freshness_score = serializers.FloatField()


class SourceQualitySerializer(serializers.Serializer[Any]):
    count = serializers.IntegerField()
    complete_profiles = serializers.IntegerField()
    average_age_days = serializers.FloatField()
    quality_score = serializers.FloatField()


class DataIssueSerializer(serializers.Serializer[Any]):
    type = serializers.CharField()
    description = serializers.CharField()
    count = serializers.IntegerField()
    severity = serializers.CharField()
    query = serializers.CharField(required=False, help_text="SQL that lists the people concerned, where SQL can")


class UniversityQualitySerializer(serializers.Serializer[Any]):
    university_id = serializers.IntegerField()
    employees = serializers.IntegerField()
    with_profile = serializers.IntegerField()
    complete = serializers.IntegerField()
    stale = serializers.IntegerField()
    unnamed = serializers.IntegerField()
    coverage_percentage = serializers.FloatField()


class QualitySerializer(ReportSerializer):
    generated_at = serializers.DateTimeField()
    total_profiles = serializers.IntegerField()
    quality_metrics = QualityMetricsSerializer()
    source_breakdown = serializers.DictField(child=SourceQualitySerializer())
    university_breakdown = UniversityQualitySerializer(many=True)
    recommended_actions = serializers.ListField(child=serializers.CharField())
    data_issues = DataIssueSerializer(many=True)


class WebhookStatsSerializer(ReportSerializer):
    period = serializers.DictField(child=serializers.DateTimeField())
    total_events = serializers.IntegerField()
    successful_events = serializers.IntegerField()
    failed_events = serializers.IntegerField()
    duplicate_events = serializers.IntegerField()
    pending_events = serializers.IntegerField()
    events_by_type = serializers.DictField(child=serializers.IntegerField())
    profiles_extracted = serializers.IntegerField()
    profiles_stored = serializers.IntegerField()
    average_processing_time_ms = serializers.FloatField()
    p50_processing_time_ms = serializers.FloatField()
    p95_processing_time_ms = serializers.FloatField()
    p99_processing_time_ms = serializers.FloatField()
    errors_by_type = serializers.DictField(child=serializers.IntegerField())
    generated_at = serializers.DateTimeField()


class LastDaySerializer(serializers.Serializer[Any]):
    events = serializers.IntegerField()
    success_rate = serializers.FloatField(help_text="successful ÷ processed updates, 0 to 1; 0 if there are none")


class OriginalWebhookStatsSerializer(WebhookStatsSerializer):
    success_rate = serializers.FloatField(help_text="successful ÷ processed updates, 0 to 1; 0 if there are none")
    event_types = serializers.DictField(child=serializers.IntegerField(), help_text="as events_by_type")
    last_24h = LastDaySerializer()


class CacheHealthSerializer(ReportSerializer):
    generated_at = serializers.DateTimeField()
    redis_connected = serializers.BooleanField()
    cache_hit_rate = serializers.FloatField(help_text="0 to 1")
    total_operations = serializers.IntegerField()
    failed_operations = serializers.IntegerField()
    last_error = serializers.CharField(allow_null=True)
    used_memory_bytes = serializers.IntegerField(allow_null=True)
    maxmemory_bytes = serializers.IntegerField(allow_null=True)
    maxmemory_policy = serializers.CharField(allow_null=True)
    evicted_keys = serializers.IntegerField(allow_null=True)
    cached_profiles = serializers.IntegerField(allow_null=True)
    latency_ms = serializers.FloatField()
    breaker = serializers.CharField()


class ProcessesSerializer(serializers.Serializer[Any]):
    reached = serializers.ListField(child=serializers.CharField())
    behind = serializers.ListField(child=serializers.CharField())
    silent = serializers.ListField(child=serializers.CharField())
    seconds = serializers.FloatField(allow_null=True)


class PlanStepSerializer(serializers.ModelSerializer[Plan]):
    percent = serializers.FloatField()
    outcome = serializers.CharField(source="text")

    class Meta:
        model = Plan
        fields = ("phase", "percent", "due_at", "state", "outcome", "waits_for_gates", "from_hour", "until_hour")


class PlansSerializer(serializers.Serializer[Any]):
    plan = serializers.IntegerField(help_text="its number, to cancel it")
    steps = PlanStepSerializer(many=True)


class RolloutSerializer(ReportSerializer):
    revision = serializers.IntegerField()
    percents = serializers.DictField(child=serializers.FloatField())
    switches = serializers.DictField(child=serializers.BooleanField())
    is_paused = serializers.BooleanField()
    held_for = serializers.CharField()
    is_stopped = serializers.BooleanField()
    monitored_since = serializers.DateTimeField(
        allow_null=True, help_text="the last resume: comparisons and breaches from before it do not count"
    )
    processes = ProcessesSerializer()
    plans = PlansSerializer(many=True)
    approvals_waiting = serializers.IntegerField()
    generated_at = serializers.DateTimeField()
