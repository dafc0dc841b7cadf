"""Servers of Debian packages that the Python packages do not bring; `make test-stores` installs what it can."""

import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import trustme

from config.dev import embedded
from config.dev.processes import BASE_DIR, Child

# Debian keeps servers outside the PATH of ordinary users.
_PATH = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"))
# What tests/stores/newer-pgbouncer has unpacked, of the Debian suite after this machine's.
_NEWER = BASE_DIR / ".data" / "newer-pgbouncer" / "pgbouncer"


def program(name: str) -> str | None:
    return shutil.which(name, path=_PATH)


# A Redis with TLS, which the bundled Valkey does not have.
SERVER = program("redis-server")


@dataclass
class Certificate:
    """A certificate for 127.0.0.1, and the authority that has issued it."""

    ca: Path
    cert: Path
    key: Path

    def options(self) -> dict[str, str]:
        """Return the options of a Redis server whose clients need no certificate."""
        files = {"tls-cert-file": self.cert, "tls-key-file": self.key, "tls-ca-cert-file": self.ca}
        return {"tls-auth-clients": "no", **{name: str(path) for name, path in files.items()}}


def issue(folder: Path) -> Certificate:
    authority = trustme.CA()
    issued = authority.issue_cert("127.0.0.1")
    certificate = Certificate(folder / "ca.pem", folder / "cert.pem", folder / "key.pem")
    authority.cert_pem.write_to_path(certificate.ca)
    issued.cert_chain_pems[0].write_to_path(certificate.cert)
    issued.private_key_pem.write_to_path(certificate.key)
    return certificate


def pgbouncers() -> dict[str, str]:
    """Return the PgBouncer programs by version, such as 1.18."""
    programs = [path for path in (program("pgbouncer"), shutil.which(_NEWER)) if path]
    found = {}
    for path in programs:
        done = subprocess.run([path, "--version"], capture_output=True, text=True, check=True)  # noqa: S603 (ours)
        found[".".join(done.stdout.split()[1].split(".")[:2])] = path
    return found


def pgbouncer(path: str, folder: Path, sockets: Path, env: Mapping[str, str], pool_size: int) -> Child:
    """Return a PgBouncer in transaction mode beside the PostgreSQL whose socket is in ``sockets``, on port 6432."""
    settings = folder / "pgbouncer.ini"
    settings.write_text(
        f"""
[databases]
* = host={sockets} port=5432
[pgbouncer]
unix_socket_dir = {sockets}
listen_port = 6432
auth_type = trust
auth_file = {folder / "users.txt"}
pool_mode = transaction
default_pool_size = {pool_size}
max_client_conn = 1000
admin_users = postgres
"""
    )
    (folder / "users.txt").write_text('"postgres" ""\n')
    # Like PostgreSQL, it refuses to run as root.
    prefix, _owner = embedded._command_prefix(Path(embedded.postgres_program("postgres")).parent, folder)
    return Child("pgbouncer", [*prefix, path, str(settings)], env, folder / "pgbouncer.log")
