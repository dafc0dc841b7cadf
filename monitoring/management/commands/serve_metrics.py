from argparse import ArgumentParser
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any
from wsgiref.simple_server import WSGIRequestHandler, make_server

from django.conf import settings
from django.core.management.base import CommandError
from prometheus_client import generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST, ThreadingWSGIServer

from config.lib.commands import BaseCommand
from monitoring.api.access import bears_token, is_open
from monitoring.stats.process_counters import CountersError, process_registry

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment


class Command(BaseCommand):
    help = "Serve the counters of this host's processes to Prometheus, on a host without a web server."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--host", default="127.0.0.1", help="address to listen on [127.0.0.1]")
        parser.add_argument("--port", type=int, default=9101, help="port [9101]")

    def handle(self, *args: Any, host: str, port: int, **options: Any) -> None:
        if not (settings.MONITORING_TOKEN or is_open()):
            raise CommandError("Set MONITORING_TOKEN, which Prometheus has to send")
        try:
            server = make_server(host, port, respond, ThreadingWSGIServer, _Handler)
        except OSError as error:
            raise CommandError(f"Cannot listen on {host}:{port}: {error.strerror}") from None
        with server:
            self.stdout.write(f"Serving http://{host}:{port}/metrics")
            self.stdout.flush()
            server.serve_forever()


class _Handler(WSGIRequestHandler):
    # A client that sends nothing must not keep a thread.
    timeout = 10

    def log_message(self, *args: Any) -> None:
        """Write no access log."""


def respond(environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
    if environ["PATH_INFO"].rstrip("/") != "/metrics":
        start_response("404 Not Found", [])
        return [b""]
    if not (is_open() or bears_token(environ.get("HTTP_AUTHORIZATION", ""))):
        start_response("401 Unauthorized", [("WWW-Authenticate", "Bearer")])
        return [b""]
    try:
        text = generate_latest(process_registry())
    except CountersError:
        start_response("503 Service Unavailable", [])
        return [b""]
    start_response("200 OK", [("Content-Type", CONTENT_TYPE_LATEST)])
    return [text]
