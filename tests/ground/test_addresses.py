"""Which addresses only this machine can reach: the servers ask for no token there, so a wrong yes opens them."""

from __future__ import annotations

from ipaddress import IPv4Address

import pytest

from asrcore.addresses import is_any, is_ipv6, is_loopback
from asrcore.serve import settings
from asrtune import mcp_http


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.1", "::1", "[::1]", "localhost", "LocalHost"])
def test_addresses_of_this_machine_alone(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["", "::", "[::]", "10.0.0.1", "8.8.8.8", "localhost.", "localhost.example.org", "127.0.0.1.example.org", "127.1",
                                  "2130706433", "0x7f.1", "[127.0.0.1", "[[::1]]", "::1]", " 127.0.0.1", "127.0.0.1:80", "my-machine", str(IPv4Address(0))])  # fmt: skip
def test_everything_else_counts_as_reachable_from_outside(host: str) -> None:
    assert not is_loopback(host)


@pytest.mark.parametrize(("host", "every", "ipv6"), [(str(IPv4Address(0)), True, False), ("::", True, True), ("0:0:0:0:0:0:0:0", True, True), ("::1", False, True),
                                                     ("127.0.0.1", False, False), ("localhost", False, False), ("[::]", False, False), ("", False, False), ("0", False, False)])  # fmt: skip
def test_an_address_for_all_addresses_and_one_that_needs_brackets_are_known_by_their_value(host: str, every: bool, ipv6: bool) -> None:
    assert (is_any(host), is_ipv6(host)) == (every, ipv6)


def test_both_servers_decide_by_the_same_helper() -> None:
    """Token lengths differ on purpose: 16 characters for live transcription, 24 where jobs can be started."""
    assert settings.is_loopback is mcp_http.is_loopback is is_loopback
    assert mcp_http.SHORTEST_TOKEN == 24
    with pytest.raises(settings.UsageError, match="serve_token_short"):
        settings.require_token("127.0.0.1", "x" * 15)
    assert settings.require_token("10.0.0.1", "x" * 16) == "x" * 16
