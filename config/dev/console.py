"""Commands of the Makefile for a running system: ``python -m config.dev.console redis|reload``."""

import os
import shlex
import signal
import sys

import redis
from environ import Env

from config.dev.launch import Launch
from config.dev.processes import StartError
from config.dev.supervisor import lock_data_dir
from config.lib import redis_connection


def redis_command(launch: Launch) -> str:
    """Run the Redis command in the variable ARGS and return the formatted reply; raise StartError if it fails."""
    Env.read_env(launch.data_dir / "services.env")
    arguments = shlex.split(os.environ.get("ARGS", ""))
    url = os.environ.get("REDIS_URL") or launch.environment.get("REDIS_URL")
    if not arguments:
        raise StartError("Give a command: make redis-cli ARGS='GET profile:user:test'")
    if not url:
        raise StartError(f"Nothing runs with {launch.data_dir}: start `make run`, or set REDIS_URL or DATA_DIR")
    try:
        with redis_connection.client(url, seconds=60, decode_responses=True) as client:
            return _format(client.execute_command(*arguments))
    except ValueError:
        raise StartError("REDIS_URL is not a Redis URL (redis://host:6379/1)") from None
    except redis.RedisError as error:
        raise StartError(f"(error) {error}") from None


def _format(reply: object) -> str:
    if isinstance(reply, dict):
        return "\n".join(f"{name}: {_format(value)}" for name, value in reply.items())
    if isinstance(reply, list | tuple | set):
        return "\n".join(map(_format, reply))
    return "(nil)" if reply is None else str(reply)


def reload(launch: Launch) -> str:
    """Make the supervisor of DATA_DIR restart its processes with the current code and .env; return a message."""
    pid_file = launch.data_dir / "supervisor.pid"
    if not pid_file.exists() or lock_data_dir(launch.data_dir):
        return f"Nothing runs with {launch.data_dir}: the next `make run` starts the new release"
    os.kill(int(pid_file.read_text()), signal.SIGHUP)
    return f"Reloading: `make run` with {launch.data_dir} prints the result"


if __name__ == "__main__":
    try:
        command = {"redis": redis_command, "reload": reload}[sys.argv[1]]
        sys.stdout.write(f"{command(Launch.from_environment())}\n")
    except StartError as error:
        sys.exit(str(error))
