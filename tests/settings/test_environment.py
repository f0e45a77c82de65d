from pathlib import Path

import pytest

from presenced.settings.keys import KEYS
from presenced.settings.loading import variable

QUEUE = "sqs.eu-west-1.amazonaws.com/111122223333/presenced"
VALUES = {
    "source": ("kafka", "kafka"),
    "mqtt.transport": ("aiomqtt", "aiomqtt"),
    "mqtt.endpoint": ("h", "h"),
    "mqtt.port": ("443", 443),
    "mqtt.server_name": ("", None),
    "mqtt.auth": ("certificate", "certificate"),
    "mqtt.authorizer.name": ("", None),
    "mqtt.authorizer.token_key_name": ("null", None),
    "mqtt.authorizer.token_file": ("", None),
    "mqtt.authorizer.signature_file": ("", None),
    "mqtt.proxy_password_file": ("", None),
    "mqtt.client_id": ("0815", "0815"),
    "mqtt.username": ("yes", "yes"),
    "mqtt.password_file": ("/p", Path("/p")),
    "mqtt.protocol": ("5", "5"),
    "mqtt.tls": ("false", None),
    "mqtt.tls.cert": ("/c", Path("/c")),
    "mqtt.tls.key": ("/k", Path("/k")),
    "mqtt.tls.ca": ("", None),
    "mqtt.tls.refresh": ("30s", 30.0),
    "mqtt.tls.pkcs11.library": ("", None),
    "mqtt.tls.pkcs11.token": ("", None),
    "mqtt.tls.pkcs11.key": ("null", None),
    "mqtt.tls.pkcs11.pin_file": ("", None),
    "mqtt.connections": (
        '[["$aws/events/presence/#"], ["$aws/events/job/#"]]',
        (("$aws/events/presence/#",), ("$aws/events/job/#",)),
    ),
    "mqtt.qos": ("0", 0),
    "mqtt.keep_alive": ("1m", 60),
    "mqtt.session_expiry": ("0", 0),
    "mqtt.max_message_rate": ("500", 500),
    "sqs.queue_url": (f"https://{QUEUE}", f"https://{QUEUE}"),
    "sqs.receivers": ("8", 8),
    "kafka.bootstrap_servers": ('["a:9092", "[::1]:9093"]', ("a:9092", "[::1]:9093")),
    "kafka.topic": ("0815", "0815"),
    "kafka.global_topic": ("global", "global"),
    "kafka.state_topic": ("state", "state"),
    "kafka.global_state_topic": ("global-state", "global-state"),
    "kafka.group": ("yes", "yes"),
    "kafka.instance_id": ("presenced-0", "presenced-0"),
    "kafka.lease": ("1m", 60),
    "kafka.security.protocol": ("PLAINTEXT", "PLAINTEXT"),
    "kafka.security.ca": ("/c", Path("/c")),
    "kafka.security.cert": ("", None),
    "kafka.security.key": ("null", None),
    "kafka.security.mechanism": ("", None),
    "kafka.security.username": ("", None),
    "kafka.security.password_file": ("", None),
    "presence.offline_delay": ("500ms", 0.5),
    "presence.offline_delay_by_reason": ('{"THROTTLED": "1s"}', {"THROTTLED": 1}),
    "presence.timestamp_accuracy": ("1m", 60),
    "presence.version_reset_after": ("2h", 7200),
    "presence.forget_offline_after": ("1d", 86400),
    "presence.damping.enabled": ("true", True),
    "presence.damping.half_life": ("30m", 1800),
    "presence.damping.suppress_after": ("5", 5),
    "presence.damping.reuse_below": ("0.5", 0.5),
    "presence.ignore_clients": ("[]", ()),
    "presence.clients": ("[]", ()),
    "presence.status_topics": ("[]", ()),
    "presence.thing_pattern": ("null", None),
    "aws.region": ("us-east-1", "us-east-1"),
    "aws.role_alias": ("", None),
    "aws.credentials_endpoint": ("null", None),
    "aws.thing_name": ("", None),
    "aws.iot_url": ("https://h", "https://h"),
    "aws.data_url": ("http://127.0.0.1:1", "http://127.0.0.1:1"),
    "aws.proxy_password_file": ("null", None),
    "reconcile.enabled": ("true", True),
    "reconcile.snapshot_every": ("1d", 86400),
    "reconcile.searches_per_second": ("0.5", 0.5),
    "reconcile.lookups_per_second": ("100", 100),
    "reconcile.verify_offline": ("never", "never"),
    "reconcile.seed_registry": ("false", False),
    "metrics.listen": ("[::1]:0", "[::1]:0"),
    "metrics.per_client": ("false", False),
    "metrics.max_clients": ("0", 0),
    "metrics.client_id_pattern": ("null", None),
    "metrics.thing_attributes": ("[site]", ("site",)),
    "metrics.thing_groups": ("[site-*]", ("site-*",)),
    "metrics.allowed_hosts": ("[fleet.example]", ("fleet.example",)),
    "metrics.web_config": ("/w.yml", Path("/w.yml")),
    "metrics.health_listen": ("127.0.0.1:9884", "127.0.0.1:9884"),
    "metrics.enable_reload_endpoint": ("true", True),
    "metrics.api": ("false", False),
    "history.clients": ("0", 0),
    "history.per_client": ("5", 5),
    "state.path": ("/s.db", Path("/s.db")),
    "state.on_error": ("stall", "stall"),
    "log.level": ("debug", "debug"),
    "log.format": ("json", "json"),
}


def test_every_key_has_a_value_here():
    keys = {key for key in KEYS if KEYS[key].kind != "section" and not KEYS[key].secret}
    assert keys == {*VALUES}


def test_secrets_may_come_from_the_environment(load):
    secrets = {
        "mqtt.password": "p",
        "mqtt.proxy": "http://u:p@h:1",
        "mqtt.authorizer.token": "t",
        "mqtt.authorizer.signature": "s",
        "aws.proxy": "http://u:p@h:2",
    }
    assert set(secrets) == {key for key in KEYS if KEYS[key].secret}
    more = {
        "PRESENCED_MQTT__AUTH": "custom",
        "PRESENCED_MQTT__USERNAME": "u",
        "PRESENCED_MQTT__AUTHORIZER__TOKEN_KEY_NAME": "k",
    }
    settings = load("", {variable(KEYS[key]): text for key, text in secrets.items()} | more)
    for key, text in secrets.items():
        value = settings
        for part in key.split("."):
            value = getattr(value, part)
        assert value.get_secret_value() == text


@pytest.mark.parametrize("key", VALUES)
def test_every_key_may_come_from_the_environment(load, key):
    text, expected = VALUES[key]
    environ = {variable(KEYS[key]): text, "PRESENCED_MQTT__USERNAME": "yes"}
    value = load("", environ)
    for part in key.split("."):
        value = getattr(value, part)
    assert value == expected


def test_names_of_variables():
    assert variable(KEYS["mqtt.tls.cert"]) == "PRESENCED_MQTT__TLS__CERT"


def test_single_reasons_override_the_mapping(load):
    environ = {
        "PRESENCED_PRESENCE__OFFLINE_DELAY_BY_REASON": "{THROTTLED: 1s, AUTH_ERROR: 1s}",
        "PRESENCED_PRESENCE__OFFLINE_DELAY_BY_REASON__CONNECTION_LOST": "30s",
        "PRESENCED_PRESENCE__OFFLINE_DELAY_BY_REASON__AUTH_ERROR": "0",
    }
    assert load("", environ).presence.offline_delay_by_reason == {
        "THROTTLED": 1,
        "AUTH_ERROR": 0,
        "CONNECTION_LOST": 30,
    }


def test_single_reasons_are_added_to_those_of_the_file(load):
    environ = {"PRESENCED_PRESENCE__OFFLINE_DELAY_BY_REASON__AUTH_ERROR": "0s"}
    text = "presence: {offline_delay_by_reason: {THROTTLED: 1s}}"
    delays = load(text, environ).presence.offline_delay_by_reason
    assert delays == {"THROTTLED": 1, "AUTH_ERROR": 0}


def test_bad_reasons_are_explained(load):
    name = "PRESENCED_PRESENCE__OFFLINE_DELAY_BY_REASON__CONNECTON_LOST"
    problem = load.problem("", {name: "5s"})
    assert (problem.origin, problem.nearest) == (name, "CONNECTION_LOST")


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("PRESENCED_MQTT_ENDPOINT", "PRESENCED_MQTT__ENDPOINT"),
        ("PRESENCED_MQTT__KEEP_ALVIE", "PRESENCED_MQTT__KEEP_ALIVE"),
        ("PRESENCED_mqtt__endpoint", None),
        ("PRESENCED_LOG", "PRESENCED_LOG__LEVEL"),
        ("PRESENCED_XYZZY", None),
        ("PRESENCED_MQTT__PORT__X", "PRESENCED_MQTT__PORT"),
        ("PRESENCED_PRESENCE__OFFLINE_DELAY_BY_REASON__", "PRESENCED_PRESENCE__OFFLINE_DELAY_BY"),
    ],
)
def test_unknown_variables_are_errors(load, name, nearest):
    problem = load.problem("", {name: "hunter2"})
    assert problem.origin == name
    assert problem.message == "is not an environment variable of presenced"
    assert "hunter2" not in str(problem)
    if nearest:
        assert problem.nearest.startswith(nearest)


@pytest.mark.parametrize("name", ["PRESENCED_FOO", "PRESENCED_XYZZY"])
def test_a_variable_that_resembles_none_gets_no_suggestion(load, name):
    assert load.problem("", {name: "1"}).nearest is None


def test_other_variables_are_ignored(load):
    assert load("", {"PATH": "/bin", "PRESENCEDX": "1", "presenced_mqtt__port": "x"})


def test_variables_of_kubernetes_services_are_ignored(load):
    environ = {
        "PRESENCED_SERVICE_HOST": "10.0.0.1",
        "PRESENCED_SERVICE_PORT": "9883",
        "PRESENCED_SERVICE_PORT_METRICS": "9883",
        "PRESENCED_PORT": "tcp://10.0.0.1:9883",
        "PRESENCED_PORT_9883_TCP": "tcp://10.0.0.1:9883",
        "PRESENCED_PORT_9883_TCP_PROTO": "tcp",
        "PRESENCED_PORT_9883_TCP_PORT": "9883",
        "PRESENCED_PORT_9883_TCP_ADDR": "10.0.0.1",
        "PRESENCED_EU_SERVICE_HOST": "10.0.0.2",
        "PRESENCED_EU_PORT": "tcp://10.0.0.2:9883",
    }
    assert load("", environ)
    assert load.problem("", {"PRESENCED_MQTT_PORT": "443"}).nearest == "PRESENCED_MQTT__PORT"
    assert load.problem("", {"PRESENCED_PORT_1_TCP_PORT": "443"})


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("PRESENCED_MQTT__PORT", "99999", "mqtt.port = 99999: must be at most 65535"),
        ("PRESENCED_MQTT__PORT", "", "must be a whole number"),
        ("PRESENCED_MQTT__CONNECTIONS", "[[", "mqtt.connections = '[[': is not JSON"),
        ("PRESENCED_MQTT__CONNECTIONS", "[" * 5000, "is nested more than 20 deep"),
        ("PRESENCED_MQTT__CONNECTIONS", f"[{'x,' * 10_000}]", "contains more than 10,000 values"),
        ("PRESENCED_MQTT__PORT", "!!int x", "mqtt.port = '!!int x': is not JSON"),
        ("PRESENCED_MQTT__CONNECTIONS", "$aws/events/#", 'did you mean [["$aws/events/#"]]?'),
        ("PRESENCED_METRICS__PER_CLIENT", "1", "must be true or false"),
        ("PRESENCED_MQTT__KEEP_ALIVE", "", 'mqtt.keep_alive = "": is not a duration'),
        ("PRESENCED_MQTT__KEEP_ALIVE", "30", "has no unit: write 30s"),
        ("PRESENCED_MQTT__TLS", "null", "must be a mapping with cert, key and ca, or false"),
        ("PRESENCED_METRICS__HEALTH_LISTEN", "9884", "must be HOST:PORT"),
    ],
)
def test_bad_values_name_the_variable(load, name, value, message):
    problem = load.problem("", {name: value})
    assert problem.origin == name
    assert message in str(problem)


def test_tls_of_the_file_may_be_turned_off_and_on(load):
    assert load("mqtt: {tls: {ca: /a}}", {"PRESENCED_MQTT__TLS": "false"}).mqtt.tls is None
    tls = load("mqtt: {tls: false}", {"PRESENCED_MQTT__TLS__CA": "/b"}).mqtt.tls
    assert tls.ca == Path("/b")


def test_parts_of_tls_override_the_file(load):
    tls = load("mqtt: {tls: {ca: /a}}", {"PRESENCED_MQTT__TLS__CERT": "/c"}).mqtt.tls
    assert (tls.ca, tls.cert) == (Path("/a"), Path("/c"))


def test_variables_that_contradict_each_other_are_named(load):
    environ = {"PRESENCED_MQTT__TLS": "false", "PRESENCED_MQTT__TLS__CERT": "/c"}
    problem = load.problem("", environ)
    assert problem.origin == "PRESENCED_MQTT__TLS__CERT"
    assert problem.message == "contradicts PRESENCED_MQTT__TLS"
