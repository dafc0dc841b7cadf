"""Connections to Redis that know which run of the server they lead to."""

import re
import socket
import struct
from typing import Any

_RUN_ID = re.compile(rb"run_id:([0-9A-Za-z]+)")


def connect(connection: Any) -> None:
    """Prepare a new connection and store the server's run ID in its attribute ``run_id``; ``b""`` if it has none.

    A restart or a failover ends every connection, so an open one leads to the same run of the server, with the same
    memory, as when it was opened.
    """
    # Closing the connection, as after a timeout, discards what has not been sent, which could arrive minutes later.
    connection._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # noqa: SLF001 (no other way)
    connection.on_connect()
    connection.send_command("INFO", "server")
    info = connection.read_response()
    found = _RUN_ID.search(info if isinstance(info, bytes) else str(info).encode())
    connection.run_id = found[1] if found else b""
