"""Comparisons as the worker would have left them."""

from datetime import timedelta
from typing import Any

from django.utils import timezone

from profiles.models import Comparison


def compared(count: int, outcome: str = "agree", *, ago: timedelta = timedelta(minutes=1), **fields: Any) -> None:
    row = {"stage": 2, "served_source": "api", "served_ms": 50.0, "university_id": 1, "cache_age_days": 0.5, **fields}
    Comparison.objects.bulk_create(
        Comparison(
            at=timezone.now() - ago,
            key_hash=f"{number:032x}",
            outcome=outcome,
            **{"bucket": number * 10_000 // count} | row,
        )
        for number in range(count)
    )
