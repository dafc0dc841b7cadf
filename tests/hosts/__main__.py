"""``make test-hosts``: run the tests of several hosts in a network of their own, which ends with this command.

It needs root, or a kernel that lets users have namespaces; otherwise it says so and succeeds.
"""

import os
import shutil
import subprocess
import sys

# `ip netns` keeps its names in /run.
_SET_UP = 'mount -t tmpfs tmpfs /run && ip link set lo up && exec "$@"'
_PROBE = "ip netns add probe && ip link add probe type veth peer name eth0 netns probe"
_PROBE += " && ip link add name bridge0 type bridge"


def main() -> int:
    user = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    inside = ["unshare", *user, "--net", "--mount", "--uts", "sh", "-c", _SET_UP, "sh"]
    if missing := [name for name in ("ip", "tc", "unshare", "mount") if not shutil.which(name)]:
        return skip(f"{missing[0]} is missing (Debian, Ubuntu: apt install iproute2 util-linux)")
    probe = subprocess.run([*inside, "sh", "-c", _PROBE], capture_output=True, text=True, check=False)  # noqa: S603 (ours)
    if probe.returncode:
        return skip((probe.stderr.strip().splitlines() or ["no reason given"])[-1])
    os.environ["TEST_HOSTS"] = "1"
    pytest = [sys.executable, "-m", "pytest", "-m", "", "-q", "-s", "-p", "no:randomly", "--timeout", "600"]
    return subprocess.run([*inside, *pytest, "tests/hosts", *sys.argv[1:]], check=False).returncode  # noqa: S603 (ours)


def skip(reason: str) -> int:
    sys.stdout.write(f"Skipped: this machine cannot have network namespaces: {reason}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
