"""Outgoing connections with one deadline for everything: looking up the host, connecting, TLS and reading.

By default, Python sets no limit for looking up a host, and restarts a socket's timeout for each address and each read.
"""

import http.client
import io
import smtplib
import socket
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from typing import Any, ClassVar, TypeVar

import requests
import urllib3
from django.core.mail.backends import smtp
from django.core.mail.utils import DNS_NAME
from django.utils.encoding import punycode
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import ConnectTimeoutError, NameResolutionError, NewConnectionError

# A lookup cannot be cancelled: its thread goes on until the resolver gives up, usually after ten seconds.
_lookups = threading.BoundedSemaphore(16)
_T = TypeVar("_T")
# For the host's own name, which is looked up until the resolver has answered once.
_OWN_NAME_SECONDS = 1.0
# Between two lookups of the host's own name.
_OWN_NAME_PAUSE_SECONDS = 60.0


def addresses_of(host: str, port: int, ends_at: float) -> list[tuple[Any, ...]]:
    """Return what socket.getaddrinfo() returns; raise TimeoutError at ``ends_at`` (monotonic seconds)."""
    return _in_time(lambda: socket.getaddrinfo(host, port, type=socket.SOCK_STREAM), ends_at)


def _in_time(ask: Callable[[], _T], ends_at: float) -> _T:
    """Return the result of ``ask``, which calls the resolver; raise TimeoutError at ``ends_at``."""
    found: Future[_T] = Future()

    def look_up() -> None:
        try:
            found.set_result(ask())
        except OSError as error:
            found.set_exception(error)
        except UnicodeError as error:
            found.set_exception(socket.gaierror(socket.EAI_NONAME, str(error)))
        finally:
            _lookups.release()

    if not _lookups.acquire(timeout=max(ends_at - time.monotonic(), 0)):
        raise TimeoutError
    try:
        # A daemon: the end of the process does not wait for it.
        threading.Thread(target=look_up, name="lookup", daemon=True).start()
    except RuntimeError as error:
        _lookups.release()
        raise OSError(str(error)) from error
    return found.result(max(ends_at - time.monotonic(), 0))


def own_name(ends_at: float) -> str | None:
    """Return this host's full name; None if the resolver fails or has not answered by ``ends_at`` (monotonic time)."""
    try:
        name, others, _ = _in_time(lambda: socket.gethostbyaddr(socket.gethostname()), ends_at)
    except OSError:
        return None
    # This is the choice of socket.getfqdn(), which itself returns the short name if the resolver fails.
    return next((full for full in (name, *others) if "." in full), name)


def connect(
    host: str, port: int, ends_at: float, source: tuple[str, int] | None = None, options: Iterable[Any] = ()
) -> socket.socket:
    """Return a socket connected to the first address that answers; raise OSError if none answers by ``ends_at``.

    Each address gets an equal share of the time that is left.
    """
    addresses = addresses_of(host, port, ends_at)
    failure = OSError(f"no address of {host}")
    for number, (family, kind, protocol, _, address) in enumerate(addresses):
        share = (ends_at - time.monotonic()) / (len(addresses) - number)
        if share <= 0:
            raise TimeoutError
        try:
            candidate = socket.socket(family, kind, protocol)
        except OSError as error:
            failure = error  # For example, this kernel may not have IPv6.
            continue
        try:
            for option in options:
                candidate.setsockopt(*option)
            candidate.settimeout(share)
            if source:
                candidate.bind(source)
            candidate.connect(address)
        except OSError as error:
            candidate.close()
            failure = error
        else:
            return candidate
    raise failure


class _DeadlineReader(io.RawIOBase):
    """Read from a socket, and raise TimeoutError after ``ends_at``.

    A socket's own timeout would start again with every read.
    """

    def __init__(self, sock: socket.socket, raw: io.RawIOBase, ends_at: float) -> None:
        self._sock, self._raw, self._ends_at = sock, raw, ends_at

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int | None:
        left = self._ends_at - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self._sock.settimeout(left)
        return self._raw.readinto(buffer)

    def close(self) -> None:
        self._raw.close()
        super().close()


class _Response(http.client.HTTPResponse):
    def __init__(self, sock: socket.socket, *args: Any, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        ends_at = time.monotonic() + (sock.gettimeout() or 0)
        self.fp = io.BufferedReader(_DeadlineReader(sock, self.fp.detach(), ends_at))


class _Connection(HTTPConnection):
    response_class = _Response

    def _new_conn(self) -> socket.socket:
        """Connect within the connect timeout, which includes looking up the host.

        urllib3's own method restarts the timeout for each address and does not limit the lookup.
        """
        seconds: Any = self.timeout
        try:
            # urllib3 stores the host here without a final dot.
            host, source, options = self._dns_host.strip("[]"), self.source_address, self.socket_options or ()
            sock = connect(host, self.port, time.monotonic() + seconds, source, options)
        except socket.gaierror as error:
            raise NameResolutionError(self.host, self, error) from error
        except TimeoutError as error:
            raise ConnectTimeoutError(self, f"{self.host} did not answer within {seconds} s") from error
        except OSError as error:
            raise NewConnectionError(self, f"cannot connect: {error}") from error
        sock.settimeout(seconds)
        return sock


class _SecureConnection(HTTPSConnection, _Connection):
    response_class = _Response


class _Adapter(HTTPAdapter):
    def get_connection_with_tls_context(self, *args: Any, **kwargs: Any) -> Any:
        pool: Any = super().get_connection_with_tls_context(*args, **kwargs)
        pool.ConnectionCls = _SecureConnection if pool.scheme == "https" else _Connection
        return pool


def within(seconds: float) -> Any:
    """Return the ``timeout`` of a request that takes at most ``seconds``.

    Looking up the host and connecting may together take half of this time, and the TLS handshake may take the other
    half.
    """
    return urllib3.Timeout(connect=seconds / 2, total=seconds)


class Session(requests.Session):
    """A session of requests that follows no redirects; the timeout of each request comes from ``within()``."""

    def __init__(self) -> None:
        super().__init__()
        self.mount("https://", _Adapter())
        self.mount("http://", _Adapter())

    def get_redirect_target(self, resp: requests.Response) -> None:
        """Follow no redirect. With allow_redirects=False, requests would still read the whole body of the response."""


class _Smtp(smtplib.SMTP):
    def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:
        self._ends_at = time.monotonic() + timeout
        sock = connect(host, port, self._ends_at)
        # For a TLS handshake.
        sock.settimeout(max(self._ends_at - time.monotonic(), 0.001))
        return sock

    def send(self, s: Any) -> None:
        if self.sock:
            self.sock.settimeout(max(self._ends_at - time.monotonic(), 0.001))
        super().send(s)

    def getreply(self) -> tuple[int, bytes]:
        # Also after STARTTLS, when smtplib reads from another socket.
        if self.file is None and self.sock:
            raw: Any = self.sock.makefile("rb", buffering=0)
            self.file = io.BufferedReader(_DeadlineReader(self.sock, raw, self._ends_at))
        return super().getreply()


class _SmtpOverTls(smtplib.SMTP_SSL, _Smtp):
    pass


class EmailBackend(smtp.EmailBackend):
    """Send e-mail by SMTP; EMAIL_TIMEOUT is the time for a whole session, not for each line."""

    _own_name: ClassVar[str | None] = None
    _asks_again_at: ClassVar[float] = 0.0

    def open(self) -> Any:
        # Django looks up this host's name for the first e-mail of a process, without a limit, and keeps it.
        if EmailBackend._own_name is None and time.monotonic() >= EmailBackend._asks_again_at:
            EmailBackend._asks_again_at = time.monotonic() + _OWN_NAME_PAUSE_SECONDS
            # Until the resolver has answered, use the short name, also in Message-IDs and for other threads.
            DNS_NAME._fqdn = punycode(socket.gethostname())  # noqa: SLF001 (no other way)
            if found := own_name(time.monotonic() + _OWN_NAME_SECONDS):
                EmailBackend._own_name, DNS_NAME._fqdn = found, punycode(found)  # noqa: SLF001 (no other way)
        return super().open()

    @property
    def connection_class(self) -> type[smtplib.SMTP]:
        return _SmtpOverTls if self.use_ssl else _Smtp
