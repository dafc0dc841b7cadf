"""Celery's transport over Redis, changed to reject an unreadable message, which would otherwise crash the task worker.

The worker would crash again after each restart, until somebody removes the message from the queue. No work is lost with
a rejected message: all messages start periodic tasks, so the next run of the task does the same work.
"""

import logging
from typing import Any

from celery import signals
from celery.worker.consumer import Consumer as CeleryConsumer
from kombu.transport import redis as kombu_redis
from prometheus_client import Counter

# Errors of parsing and of a message's shape; UnicodeDecodeError, JSONDecodeError and binascii.Error are ValueErrors.
_UNREADABLE = (ValueError, TypeError, KeyError, AttributeError, RecursionError)

# The stubs of Kombu lack the methods that are replaced here.
redis: Any = kombu_redis
rejected = Counter("celery_messages_rejected", "Messages of the task queue that were rejected, by reason", ["reason"])
logger = logging.getLogger(__name__)


def reject(reason: str, error: str) -> None:
    """Log that a message was removed from the queue, and count it under ``reason``.

    Neither ``reason`` nor ``error`` may quote the message, because both are logged.
    """
    rejected.labels(reason).inc()
    logger.error("message rejected", extra={"event": "message_rejected", "reason": reason, "error": error})


def queue_length(client: Any) -> int:
    """Return the number of messages in the queue, which consists of a list for each priority."""
    suffixes = [f"{redis.Channel.sep}{step}" if step else "" for step in redis.PRIORITY_STEPS]
    return sum(client.llen(f"celery{suffix}") for suffix in suffixes)


class QoS(redis.QoS):  # type: ignore[misc]
    def ack(self, delivery_tag: Any) -> None:
        """Acknowledge a message, and free its place in the prefetch window even if the broker does not respond.

        Otherwise, each failed acknowledgement would occupy a place until the worker ends, and a worker without a free
        place takes no messages. The broker delivers an unacknowledged message again after an hour.
        """
        self._quick_ack(delivery_tag)
        super().ack(delivery_tag)

    def reject(self, delivery_tag: Any, requeue: bool = False) -> None:
        """Reject a message, and free its place in the prefetch window as ``ack`` does."""
        self._quick_ack(delivery_tag)
        super().reject(delivery_tag, requeue)

    def restore_by_tag(self, tag: Any, client: Any = None, leftmost: bool = False) -> None:
        """Put a message that was not acknowledged back into the queue, or remove it if it cannot be read."""
        try:
            super().restore_by_tag(tag, client, leftmost)
        except _UNREADABLE as error:
            with self.channel.conn_or_acquire(client) as connection, connection.pipeline() as pipe:
                self._remove_from_indices(tag, pipe).execute()
            reject("unreadable", type(error).__name__)


class _Tolerant(redis.Channel):  # type: ignore[misc]
    QoS = QoS

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Open the channel, and delete keys of Kombu's queue whose Redis type is not the one that Kombu expects."""
        super().__init__(*args, **kwargs)
        types = dict.fromkeys((self._q_for_pri("celery", step) for step in self.priority_steps), b"list")
        types |= {self.unacked_key: b"hash", self.unacked_index_key: b"zset"}
        types |= {self.unacked_mutex_key: b"string", self.keyprefix_queue % "celery": b"set"}
        with self.conn_or_acquire() as client:
            for key, wanted in types.items():
                if client.type(key) not in (wanted, b"none"):
                    client.delete(key)
                    reject("damaged_queue", key)

    def _brpop_read(self, **options: Any) -> Any:
        known = set(self.qos._delivered)  # noqa: SLF001 (Kombu has no public way to list them)
        try:
            return super()._brpop_read(**options)
        except _UNREADABLE as error:
            # Celery may fail after Kombu has counted the message. The message would then keep its place in the prefetch
            # window until the worker ends, and only then return to the queue.
            for tag in set(self.qos._delivered) - known:  # noqa: SLF001
                self.qos.ack(tag)
            reject("unreadable", type(error).__name__)
            return True


class Channel(_Tolerant):
    pass


class SentinelChannel(_Tolerant, redis.SentinelChannel):  # type: ignore[misc]
    pass


class Consumer(CeleryConsumer):
    def on_decode_error(self, message: Any, exc: Exception) -> None:
        """Remove a message from the queue if its content type is refused or its body cannot be decoded.

        Celery's own method would write the body to the log.
        """
        reject("undecodable", type(exc).__name__)
        message.ack()


@signals.task_unknown.connect
def count_unknown_task(**_: object) -> None:
    rejected.labels("unknown_task").inc()


@signals.task_rejected.connect
def count_invalid_message(**_: object) -> None:
    rejected.labels("invalid").inc()


def install() -> None:
    """Make Kombu use the channel classes of this module for every Redis broker."""
    redis.Transport.Channel = Channel
    redis.SentinelTransport.Channel = SentinelChannel
