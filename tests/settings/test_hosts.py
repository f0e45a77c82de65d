import re
from contextlib import suppress
from ipaddress import IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from presenced.settings import ListenAddress
from presenced.settings.values import check_endpoint, host_port, parse_listen, split_host_port


@pytest.mark.parametrize(
    "text",
    [
        "xxxxxxxxxxxxxx-ats.iot.eu-west-1.amazonaws.com",
        "localhost",
        "mosquitto_1",
        "192.0.2.1",
        "::1",
        "2001:db8::1",
        "",
    ],
)
def test_hosts_are_endpoints(text):
    assert check_endpoint(text) == text


@pytest.mark.parametrize("text", ["Broker.Example", "broker.example.", "BROKER.example."])
def test_names_are_read_in_lower_case_without_the_dot_at_their_end(text):
    assert check_endpoint(text) == "broker.example"


def test_zones_of_addresses_keep_their_case():
    assert check_endpoint("fe80::1%Eth0") == "fe80::1%Eth0"


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("mqtts://Broker.example:8884", "write Broker.example and mqtt.port: 8884"),
        ("mqtts://broker.example", "write broker.example"),
        ("broker.example:8884", "write broker.example and mqtt.port: 8884"),
        ("broker.example/mqtt", "write broker.example"),
        ("https://user:secret@broker.example/", "write broker.example"),
        (" broker.example ", "write broker.example"),
        ("[::1]:8883", "write ::1 and mqtt.port: 8883"),
        ("arn:aws:iot:eu-west-1:1:thing/x", "aws iot describe-endpoint"),
        ("two words", "aws iot describe-endpoint --endpoint-type iot:Data-ATS"),
        ("broker.example:99999", "aws iot describe-endpoint"),
        ("-", "aws iot describe-endpoint"),
        ("a" * 64, "aws iot describe-endpoint"),
    ],
)
def test_what_is_more_than_a_host_name_says_what_to_write(text, advice):
    with pytest.raises(ValueError, match="must be a host name alone") as caught:
        check_endpoint(text)
    assert str(caught.value).endswith(advice) or advice in str(caught.value)


@pytest.mark.parametrize("value", [None, 5, ["h"]])
def test_what_is_no_text_is_no_endpoint(value):
    with pytest.raises(ValueError, match=r"must be a host name: .*describe-endpoint"):
        check_endpoint(value)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        (":9883", (None, 9883)),
        (":0", (None, 0)),
        ("127.0.0.1:9883", ("127.0.0.1", 9883)),
        ("localhost:80", ("localhost", 80)),
        ("[::1]:9883", ("::1", 9883)),
        ("[fe80::1%eth0]:9883", ("fe80::1%eth0", 9883)),
        ("[::]:65535", ("::", 65535)),
    ],
)
def test_listen_addresses_are_taken_apart(text, address):
    assert parse_listen(text) == ListenAddress(*address)


@pytest.mark.parametrize(
    ("text", "host"),
    [
        (":1", "127.0.0.1"),
        ("0.0.0.0:1", "127.0.0.1"),
        ("[::]:1", "127.0.0.1"),
        ("[::1]:1", "::1"),
        ("fleet.example:1", "fleet.example"),
    ],
)
def test_how_this_machine_reaches_a_listener(text, host):
    assert parse_listen(text).reachable_host == host


@pytest.mark.parametrize(
    ("text", "message", "nearest"),
    [
        ("9883", "must be HOST:PORT, or :PORT", '":9883"'),
        ("localhost", "must be HOST:PORT", "localhost:9883"),
        ("127.0.0.1", "must be HOST:PORT", "127.0.0.1:9883"),
        ("::1", "stands in brackets", "[::1]:9883"),
        ("[::1]", "stands in brackets", "[::1]:9883"),
        ("::1:x:9883", "stands in brackets, such as [::1]:9883", None),
        ("http://localhost:9883/", "must be HOST:PORT", "localhost:9883"),
        (":99999", "must have a port from 0 to 65535", None),
        ("99999", "must have a port from 0 to 65535", None),
        ("99999999", "must have a port from 0 to 65535", None),
        ("9" * 5000, "must have a port from 0 to 65535", None),
        ("localhost:" + "9" * 5000, "must have a port from 0 to 65535", None),
        ("http://localhost:99999/", "must have a port from 0 to 65535", None),
        ("http://[::1]:9883", "must be HOST:PORT", "[::1]:9883"),
        ("009883", "must be HOST:PORT", '":9883"'),
        (":http", "must be HOST:PORT", None),
        ("[x]:9883", "must have an IPv6 address between the brackets", None),
        ("[]:9883", "must have an IPv6 address between the brackets", None),
        ("*:9883", "or nothing for every interface", None),
        ("", "must be HOST:PORT", None),
        (":٣", "must be HOST:PORT", None),
    ],
)
def test_bad_listen_addresses_are_explained(text, message, nearest):
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        parse_listen(text)
    assert caught.value.nearest == nearest


@given(st.ip_addresses() | st.just(""), st.integers(0, 65535))
def test_every_address_and_port_is_read(host, port):
    text = f"[{host}]:{port}" if isinstance(host, IPv6Address) else f"{host}:{port}"
    assert parse_listen(text) == (str(host) or None, port)


@given(st.text())
def test_any_text_is_an_address_or_a_value_error(text):
    for read in (parse_listen, check_endpoint):
        with suppress(ValueError):
            read(text)


@pytest.mark.parametrize(
    ("host", "port", "text"),
    [("broker", 8883, "broker:8883"), ("192.0.2.1", 80, "192.0.2.1:80"), ("::1", 443, "[::1]:443")],
)
def test_an_ipv6_address_is_in_brackets(host, port, text):
    assert host_port(host, port) == text
    assert split_host_port(text) == (host, port)
