"""Shapes of the reports, for the OpenAPI schema."""

from typing import Any

from rest_framework import serializers


class CoverageSerializer(serializers.Serializer[Any]):
    total_users = serializers.IntegerField()
    users_with_profiles = serializers.IntegerField()
    users_with_full_names = serializers.IntegerField()
    coverage_percentage = serializers.FloatField()
    full_name_percentage = serializers.FloatField()
    profiles_by_source = serializers.DictField(child=serializers.IntegerField())
    last_updated = serializers.DateTimeField()


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


class QualitySerializer(serializers.Serializer[Any]):
    generated_at = serializers.DateTimeField()
    total_profiles = serializers.IntegerField()
    quality_metrics = QualityMetricsSerializer()
    source_breakdown = serializers.DictField(child=SourceQualitySerializer())
    recommended_actions = serializers.ListField(child=serializers.CharField())
    data_issues = DataIssueSerializer(many=True)


class WebhookStatsSerializer(serializers.Serializer[Any]):
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


class CacheHealthSerializer(serializers.Serializer[Any]):
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
