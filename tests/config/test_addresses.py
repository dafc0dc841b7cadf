"""Which address counts as the client's: what proxies write is parsed, and what is no address is ignored."""

from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from django.contrib.auth.models import User
from django.test import Client
from hypothesis import example, given
from hypothesis import strategies as st
from pytest_django.fixtures import Settings

from config.lib.http.addresses import client_address, parse_address
from config.lib.http.throttling import LogInRate, TokenBuckets

PEER = "192.0.2.1"
PORTS = st.integers(0, 65535).map(str) | st.sampled_from(["", "_hidden"])
ZONES = st.just("") | st.sampled_from(["%eth0", "%25eth0", "%1"])


@pytest.fixture(autouse=True)
def _behind_one_proxy(settings: Settings) -> None:
    settings.TRUSTED_PROXIES = 1


def address_of(header: str, peer: str = PEER) -> str:
    return client_address({"REMOTE_ADDR": peer, "HTTP_X_FORWARDED_FOR": header})


@pytest.mark.parametrize(
    ("item", "address"),
    [
        ("203.0.113.7", "203.0.113.7"),
        ("203.0.113.7:51234", "203.0.113.7"),
        (' "203.0.113.7:51234" ', "203.0.113.7"),
        ("2001:DB8::1", "2001:db8::1"),
        ("[2001:db8::1]", "2001:db8::1"),
        ('"[2001:db8::1]:4711"', "2001:db8::1"),
        ("fe80::1%eth0", "fe80::1"),
        ("[fe80::1%25eth0]:443", "fe80::1"),
        ("::ffff:203.0.113.7", "203.0.113.7"),
    ],
)
def test_it_works(item: str, address: str) -> None:
    assert address_of(item) == address


@pytest.mark.parametrize(
    "item",
    [
        *("unknown", "_hidden", "", " ", ":", "[]", "[]:80", "unix:", "localhost", "1.2.3", "1.2.3.4.5", "256.1.1.1"),
        *("::1::", "[203.0.113.7", "203.0.113.7]", "1.2.3.4 5.6.7.8", "0x7f.1", "01.02.03.04", "٣.٣.٣.٣", "%eth0"),
        "for=1.2.3.4",
    ],
)
def test_it_ignores_what_is_no_address(item: str) -> None:
    assert address_of(item) == PEER
    assert address_of(f"198.51.100.1, {item}") == PEER, "never an item that the client may have written"


@pytest.mark.parametrize(("peer", "address"), [("", ""), ("unix:", ""), ("::ffff:192.0.2.1", "192.0.2.1")])
def test_it_reports_no_peer_that_is_no_address(peer: str, address: str) -> None:
    assert address_of("unknown", peer) == address


def test_it_counts_from_the_right(settings: Settings) -> None:
    settings.TRUSTED_PROXIES = 2
    assert address_of("6.6.6.6, 203.0.113.7:1, 10.0.0.1") == "203.0.113.7"
    assert address_of("10.0.0.1") == PEER
    settings.TRUSTED_PROXIES = 0
    assert address_of("10.0.0.1") == PEER


@given(st.ip_addresses(), PORTS | st.none(), ZONES, st.text(max_size=20))
def test_it_finds_every_address(address: IPv4Address | IPv6Address, port: str | None, zone: str, forged: str) -> None:
    host = str(address)
    if isinstance(address, IPv6Address):
        host = f"[{host}{zone}]" if port is not None or zone else host
    expected = getattr(address, "ipv4_mapped", None) or address
    assert parse_address(address_of(f"{forged},{host}" + (f":{port}" if port is not None else ""))) == str(expected)


@given(st.text(max_size=60))
@example("1.2.3.4:5:6")
def test_it_returns_a_valid_address_for_any_header(header: str) -> None:
    assert str(ip_address(address_of(header)))


@pytest.mark.django_db
@pytest.mark.parametrize("header", ["203.0.113.7:51234", "unknown", "_hidden", "[fe80::1%eth0]:443", "", ",", "\x7f"])
@pytest.mark.parametrize("path", ["/admin/login/", "/api/token"])
def test_it_never_breaks_a_log_in(client: Client, header: str, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LogInRate, "buckets", TokenBuckets())
    User.objects.create_superuser("admin", password="right")
    for password, expected in (("wrong", (200, 401)), ("right", (200, 302))):
        form = {"username": "admin", "password": password}
        content = {"content_type": "application/json"} if path == "/api/token" else {}
        answer = client.post(path, form, headers={"x-forwarded-for": header}, **content)  # type: ignore[arg-type]
        assert answer.status_code in expected
