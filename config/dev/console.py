"""What the Makefile asks of a running system: a Redis command, a reload."""

import os
import shlex
import signal
import sys
from collections.abc import Callable

import redis
from environ import Env

from config.dev.launch import Launch, StartError
from config.dev.supervisor import claim


def redis_command(launch: Launch) -> str:
    """Run the words of ARGS as redis-cli would, on the server of REDIS_URL or of services.env."""
    Env.read_env(launch.data_dir / "services.env")
    words = shlex.split(os.environ.get("ARGS", ""))
    url = os.environ.get("REDIS_URL") or launch.environment.get("REDIS_URL")
    if not words:
        raise StartError("Give a command: make redis-cli ARGS='GET profile:user:test'")
    if not url:
        raise StartError(f"Nothing runs with {launch.data_dir}: start it by `make run`, or set REDIS_URL or DATA_DIR")
    try:
        client = redis.Redis.from_url(url, decode_responses=True)
        return _printed(client.execute_command(*words))  # type: ignore[no-untyped-call]
    except ValueError:
        raise StartError("REDIS_URL is not a Redis URL (redis://host:6379/1)") from None
    except redis.RedisError as error:
        raise StartError(f"(error) {error}") from None


def _printed(reply: object) -> str:
    if reply is None:
        return "(nil)"
    if isinstance(reply, dict):
        return "\n".join(f"{name}: {_printed(value)}" for name, value in reply.items())
    if isinstance(reply, list | tuple | set):
        return "\n".join(_printed(item) for item in reply)
    return str(reply)


def reload(launch: Launch) -> str:
    """Have the supervisor of DATA_DIR start its processes again with the code and .env of now."""
    pid_file = launch.data_dir / "supervisor.pid"
    if not pid_file.exists() or claim(launch.data_dir):
        return f"Nothing runs with {launch.data_dir}: the next `make run` starts what was deployed"
    os.kill(int(pid_file.read_text()), signal.SIGHUP)
    return f"Reloading; the outcome is shown where `make run` with {launch.data_dir} runs"


_COMMANDS: dict[str, Callable[[Launch], str]] = {"redis": redis_command, "reload": reload}


def main() -> None:
    try:
        sys.stdout.write(f"{_COMMANDS[sys.argv[1]](Launch.from_environment())}\n")
    except StartError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
