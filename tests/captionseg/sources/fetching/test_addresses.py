"""Which addresses and URLs may be asked."""

from __future__ import annotations

import ipaddress

import pytest

from captionseg.sources.fetching.addresses import AddressPolicy, check_url, is_public, read_literal
from captionseg.sources.fetching.params import HttpParams
from captionseg.sources.reasons import Refusal

STRICT = AddressPolicy(HttpParams())
PRIVATE = """
    0.0.0.0 10.0.0.1 10.255.255.255 100.64.0.1 127.0.0.1 127.255.255.254 169.254.169.254 172.16.0.1
    172.31.255.255 192.0.0.8 192.0.2.1 192.168.1.1 198.18.0.1 198.51.100.1 203.0.113.1 224.0.0.1
    224.0.1.1 239.255.255.250 240.0.0.1 255.255.255.255
    :: ::1 ::ffff:127.0.0.1 ::ffff:10.0.0.1 ::127.0.0.1 64:ff9b::7f00:1 64:ff9b::a00:1
    64:ff9b:1::1 2002:7f00:1:: 2002:a00:1::1 2001::1 2001:db8::1 fe80::1 fec0::1 fc00::1 fd12::1
    ff02::1 ff0e::1 100::1
""".split()  # noqa: SIM905


@pytest.mark.parametrize("address", PRIVATE)
def test_private_addresses(address: str) -> None:
    assert not is_public(ipaddress.ip_address(address))
    plain = f"[{address}]" if ":" in address else address
    with pytest.raises(Refusal) as caught:
        check_url(f"http://{plain}/a.jpg", STRICT)
    assert caught.value.reason == "refused_address"


@pytest.mark.parametrize(
    "address",
    [
        "1.1.1.1",
        "172.32.0.1",
        "100.128.0.1",
        "93.184.216.34",
        "2606:4700:4700::1111",
        "64:ff9b::101:101",
        "2002:101:101::1",
        "::ffff:1.1.1.1",
    ],
)
def test_public_addresses(address: str) -> None:
    assert is_public(ipaddress.ip_address(address))
    plain = f"[{address}]" if ":" in address else address
    assert check_url(f"http://{plain}/a.jpg", STRICT).path == "/a.jpg"


@pytest.mark.parametrize(
    "host",
    [
        "127.1",
        "127.0.1",
        "2130706433",
        "017700000001",
        "0x7f000001",
        "0x7F.0.0.1",
        "0177.0.0.1",
        "127.0.0.1.",
        "127.000.000.001",
        "[::1%25eth0]",
        "①②⑦.0.0.1",
        "\uff11\uff12\uff17.0.0.1",
        "127。0。0。1",
    ],
)
def test_other_forms_of_loopback(host: str) -> None:
    with pytest.raises(Refusal) as caught:
        check_url(f"http://{host}/a.jpg", STRICT)
    assert caught.value.reason in ("refused_address", "bad_url")


def test_forms_become_the_address_that_was_checked() -> None:
    assert str(check_url("http://0x01010101:81/a.jpg?q=1#top", STRICT)) == (
        "http://1.1.1.1:81/a.jpg?q=1"
    )


@pytest.mark.parametrize("name", ["example.org", "1.example.org", "xn--bcher-kva.example", "0x7g"])
def test_names_are_no_addresses(name: str) -> None:
    assert read_literal(name) is None
    assert check_url(f"https://{name}/a b.jpg", STRICT).raw_path == "/a%20b.jpg"


def test_allowed_networks() -> None:
    policy = AddressPolicy(HttpParams(allow=("10.1.0.0/16", "::1/128")))
    allowed = ["10.1.2.3", "::1", "1.1.1.1"]
    refused = ["10.2.0.1", "127.0.0.1", "::2"]
    assert [policy.allows(ipaddress.ip_address(one)) for one in allowed + refused] == (
        [True] * 3 + [False] * 3
    )
