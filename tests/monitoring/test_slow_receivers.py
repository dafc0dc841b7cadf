"""A receiver that answers byte by byte, line by line or late takes a bounded time, and the other channels go on."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace

import pytest
from billiard.exceptions import SoftTimeLimitExceeded
from pytest_django.fixtures import Settings

from monitoring.alerts import channels, outbox
from monitoring.alerts.kinds import Kind
from monitoring.alerts.models import Alert, Channel, Delivery, DeliveryState
from tests.loopback import Answer, serving
from tests.monitoring.alert_receiver import AlertReceiver

pytestmark = pytest.mark.django_db


# In seconds; without a limit, each receiver that is slow takes longer.
LATE = 20


@pytest.fixture(autouse=True)
def _mail(settings: Settings) -> None:
    settings.EMAIL_BACKEND, settings.EMAIL_HOST = "config.lib.outgoing.EmailBackend", "127.0.0.1"


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for half a second for the webhook, and as long as this machine needs for the other channels."""

    def send(delivery: Delivery) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(channels, "TIMEOUT_SECONDS", 0.5)
            send_patiently(delivery)

    send_patiently = channels.SENDERS[Channel.WEBHOOK]
    monkeypatch.setitem(channels.SENDERS, Channel.WEBHOOK, send)


def fire(events: list[str] | None = None) -> None:
    alert = Alert.objects.create(kind=Kind.DEAD_LETTERS, severity="warning", message="m", words={"count": "1"})
    for event in events or [Delivery.Event.FIRING]:
        outbox.put(alert, event)


def deliver() -> tuple[int, float]:
    started = time.monotonic()
    return outbox.deliver(), time.monotonic() - started


@contextmanager
def mail_server(replies: list[bytes], pause: float = 0.0) -> Iterator[int]:
    """Send the replies, with a pause after each, whatever the client sends; return the port."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            try:
                with server.accept()[0] as client:
                    for reply in replies:
                        client.sendall(reply)
                        time.sleep(pause)
            except OSError:
                return

        threading.Thread(target=serve, daemon=True).start()
        yield server.getsockname()[1]


@pytest.mark.long
@pytest.mark.parametrize(
    "answer",
    [
        Answer(headers={"X-Long": " " * 300}, head_drip=0.1),
        Answer(302, b" " * 300, {"Location": "/"}, drip=0.1),
    ],
    ids=["headers in drops", "redirect in drops"],
)
@pytest.mark.usefixtures("impatient")
def test_a_dripping_webhook_ends_in_time(settings: Settings, receiver: AlertReceiver, answer: Answer) -> None:
    settings.ALERT_SLACK_WEBHOOK = receiver.url
    with serving(lambda *_: answer) as slow:
        settings.ALERT_WEBHOOK_URL = slow.url
        fire()
        assert deliver()[1] < LATE
        requests = slow.connections
        assert "text" in receiver.received[0], "the other channel has its message"
        assert deliver()[0] == 0
        assert slow.connections == requests, "the next attempt waits for the pause"
    waiting = Delivery.objects.get(channel=Channel.WEBHOOK)
    assert (waiting.state, waiting.tries) == (DeliveryState.WAITING, 1)


def test_a_dripping_mail_server_ends_in_time(settings: Settings) -> None:
    settings.ALERT_EMAIL_TO, settings.EMAIL_TIMEOUT = ["ops@example.ru"], 0.5
    with mail_server([b"220-wait\r\n"] * 300, pause=0.1) as settings.EMAIL_PORT:
        fire()
        assert deliver()[1] < LATE
    waiting = Delivery.objects.get()
    assert (waiting.state, waiting.tries, waiting.sent_at) == (DeliveryState.WAITING, 1, None)


def test_mail_is_sent_in_time(settings: Settings) -> None:
    settings.ALERT_EMAIL_TO = ["ops@example.ru"]
    replies = [b"220 x\r\n", b"250 x\r\n", b"250 x\r\n", b"250 x\r\n", b"354 x\r\n", b"250 x\r\n", b"221 x\r\n"]
    with mail_server(replies, pause=0.03) as settings.EMAIL_PORT:
        fire()
        assert deliver()[0] == 1
    assert (Delivery.objects.get().state, Delivery.objects.get().tries) == (DeliveryState.SENT, 0)


def test_an_interrupted_attempt_counts(receiver: AlertReceiver, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(delivery: Delivery) -> None:
        raise SoftTimeLimitExceeded

    fire()
    with monkeypatch.context() as patch:
        patch.setitem(channels.SENDERS, Channel.WEBHOOK, interrupt)
        with pytest.raises(SoftTimeLimitExceeded):
            outbox.deliver()
    assert Delivery.objects.get().tries == 1
    assert outbox.deliver() == 0, "paused"
    Delivery.objects.update(tries=0)
    assert outbox.deliver() == 1


def test_a_slow_receiver_gets_fewer_at_a_time(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]

    def answer(*_: object) -> Answer:
        now[0] += 0.2
        return Answer()

    monkeypatch.setattr(outbox, "CHANNEL_SECONDS", 0.5)
    monkeypatch.setattr(outbox, "time", SimpleNamespace(monotonic=lambda: now[0]))
    with serving(answer) as slow:
        settings.ALERT_WEBHOOK_URL = slow.url
        for _ in range(4):
            Alert.objects.update(resolved_at="2026-01-01T00:00:00Z")
            fire(list(Delivery.Event.values))
        assert [outbox.deliver() for _ in range(3)] == [3, 3, 3]
