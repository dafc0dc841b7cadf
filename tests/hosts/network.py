"""Hosts as network namespaces on a bridge, each with a name and an address; they can be cut off and slowed down."""

import subprocess

# Reserved for tests of networks (RFC 2544).
_SUBNET = "198.18.77"
STORES = f"{_SUBNET}.1"


def _run(command: str) -> bool:
    return subprocess.run(command.split(), capture_output=True, check=False).returncode == 0  # noqa: S603 (ours)


def _must(command: str) -> None:
    subprocess.run(command.split(), capture_output=True, check=True)  # noqa: S603 (ours)


class Host:
    def __init__(self, name: str, number: int) -> None:
        self.name, self.address = name, f"{_SUBNET}.{number}"
        _must(f"ip netns add {name}")
        _must(f"ip link add name v-{name} type veth peer name eth0 netns {name}")
        _must(f"ip link set v-{name} master hosts up")
        for command in ("link set lo up", f"address add {self.address}/24 dev eth0", "link set eth0 up"):
            _must(f"ip -netns {name} {command}")

    def inside(self, *argv: str) -> list[str]:
        """Return a command that runs another one on this host."""
        set_name = 'hostname "$0" && exec "$@"'
        return ["ip", "netns", "exec", self.name, "unshare", "--uts", "sh", "-c", set_name, self.name, *argv]

    def cut_off(self) -> None:
        """Drop everything that is sent to the host and by it, without a word to either side."""
        _must(f"ip link set v-{self.name} down")

    def slow_down(self) -> str:
        """Slow down what is sent to the host; return how: kernels without netem can only limit the rate."""
        device = f"dev v-{self.name} root"
        if _run(f"tc qdisc add {device} netem delay 150ms 50ms"):
            return "150 ms ± 50 ms later"
        _must(f"tc qdisc add {device} tbf rate 256kbit burst 4kb latency 2s")
        return "at 256 kbit/s"

    def restore(self) -> None:
        _run(f"tc qdisc delete dev v-{self.name} root")
        _must(f"ip link set v-{self.name} up")


def create_hosts(*names: str) -> dict[str, Host]:
    _must("ip link add name hosts type bridge")
    _must(f"ip address add {STORES}/24 dev hosts")
    _must("ip link set hosts up")
    return {name: Host(name, number) for number, name in enumerate(names, 11)}
