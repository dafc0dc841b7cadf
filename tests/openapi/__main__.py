"""``make test-openapi``: lint the schema, compile a TypeScript client, and test a running system by schemathesis."""

from __future__ import annotations

import argparse
import json
import secrets
import shutil
import subprocess
import sys
from pathlib import Path
from urllib.request import Request, urlopen

from tests.chaos.system import System

ROOT = Path(__file__).parent.parent.parent
FOLDER = Path(__file__).parent
# In the virtual environment, so that they are installed once.
NODE = ROOT / ".venv" / "openapi"
PACKAGES = (
    "@redocly/cli@2.77.0",
    "@stoplight/spectral-cli@6.16.3",
    "openapi-fetch@0.17.0",
    "openapi-typescript@7.13.0",
    "typescript@5.9.3",
)
TSC = ("tsc", "--strict", "--noEmit", "--skipLibCheck", "--exactOptionalPropertyTypes", "--noUncheckedIndexedAccess")
TARGET = ("--target", "es2022", "--module", "esnext", "--moduleResolution", "bundler")


def run(*command: str | Path, cwd: Path = NODE) -> None:
    subprocess.run([str(part) for part in command], cwd=cwd, check=True)  # noqa: S603 (our own commands)


def install() -> None:
    stamp = NODE / "packages.json"
    if not (stamp.exists() and json.loads(stamp.read_text()) == list(PACKAGES)):
        NODE.mkdir(parents=True, exist_ok=True)
        run("npm", "install", "--silent", "--no-save", "--no-audit", "--no-fund", "--ignore-scripts", *PACKAGES)
        stamp.write_text(json.dumps(PACKAGES))


def check_schema() -> None:
    bin_folder = NODE / "node_modules" / ".bin"
    shutil.copy(ROOT / "openapi.json", NODE)
    shutil.copy(FOLDER / "client.ts", NODE)
    (NODE / "spectral.yaml").write_text('extends: ["spectral:oas"]\n')
    run(bin_folder / "redocly", "lint", "--max-problems", "20", "openapi.json")
    run(bin_folder / "spectral", "lint", "--ruleset", "spectral.yaml", "--fail-severity", "hint", "openapi.json")
    run(bin_folder / "openapi-typescript", "openapi.json", "-o", "schema.d.ts")
    run(bin_folder / TSC[0], *TSC[1:], *TARGET, "client.ts")


def token_of(system: System) -> str:
    login = {"username": "admin", "password": system.environment["DJANGO_SUPERUSER_PASSWORD"]}
    headers = {"Content-Type": "application/json"}
    url = f"http://127.0.0.1:{system.port}/api/token"
    with urlopen(Request(url, json.dumps(login).encode(), headers)) as response:
        return str(json.load(response)["access"])


def check_system(max_examples: int) -> None:
    """Run all checks, with the endpoints closed that development mode leaves open by default."""
    system = System(DEBUG="true", WEB_WORKERS="1", MONITORING_TOKEN=secrets.token_urlsafe(24))
    system.start()
    try:
        run(
            Path(sys.executable).with_name("schemathesis"),
            *("--config-file", FOLDER / "schemathesis.toml", "run", f"http://127.0.0.1:{system.port}/openapi.json"),
            *("--checks", "all", "--max-examples", str(max_examples), "--continue-on-failure", "--no-color"),
            *("--header", f"Authorization: Bearer {token_of(system)}"),
            *("--header", f"X-Max-Bot-Api-Secret: {system.secret}"),
            cwd=ROOT,
        )
    finally:
        system.stop()


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.openapi", description=__doc__)
    parser.add_argument("--max-examples", type=int, default=50, help="test cases for each operation and phase")
    options = parser.parse_args()
    if shutil.which("npm") is None:
        sys.exit("npm is missing: install Node.js 20 or newer")
    try:
        install()
        check_schema()
        check_system(options.max_examples)
    except subprocess.CalledProcessError as error:
        return error.returncode
    return 0


if __name__ == "__main__":
    sys.exit(main())
