"""A TCP proxy that delays what clients send, as a slow network does, and that may lead to another server."""

import socket
import threading
import time
from contextlib import suppress


class SlowProxy:
    def __init__(self, target: tuple[str, int]) -> None:
        self.delay = 0.0
        # When each request came, by the monotonic clock, and the seconds until it was passed on.
        self.waits: list[tuple[float, float]] = []
        self._target = target
        self._open: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self.switch(self._target)

    def switch(self, target: tuple[str, int]) -> None:
        """Lead new connections to another server, and end the others."""
        self._target = target
        while self._open:
            with suppress(OSError):
                self._open.pop().shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        with self._listener, suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(self._target)
                self._open += [client, server]
                for source, sink, is_slow in ((client, server, True), (server, client, False)):
                    threading.Thread(target=self._pass_on, args=(source, sink, is_slow), daemon=True).start()

    def _pass_on(self, source: socket.socket, sink: socket.socket, is_slow: bool) -> None:
        with source, suppress(OSError):
            try:
                while data := source.recv(65536):
                    if is_slow:
                        self.waits.append((time.monotonic(), self.delay))
                        time.sleep(self.delay)
                    sink.sendall(data)
            finally:
                sink.shutdown(socket.SHUT_RDWR)
