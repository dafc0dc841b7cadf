from contextlib import closing

import pytest
from celery.signals import beat_init
from django.conf import settings

from config.celery import app
from tests.servers import FaultyServer


def test_the_scheduler_names_tasks_that_exist() -> None:
    app.loader.import_default_modules()
    assert {entry["task"] for entry in settings.CELERY_BEAT_SCHEDULE.values()} <= set(app.tasks)


@pytest.mark.django_db(transaction=True)
def test_alerts_are_checked_as_soon_as_the_scheduler_starts(broker_server: FaultyServer) -> None:
    """Not an interval later: till then nobody would know of any, and no step into phase 4 would be let through."""
    with app.connection_for_read() as connection, closing(connection.SimpleQueue("celery")) as queue:
        queue.clear()
        beat_init.send(sender=None)
        message = queue.get(timeout=5)
        message.ack()
    assert message.headers["task"] == "monitoring.tasks.check_alerts"
    assert message.headers["expires"]
