import pytest

from presenced.settings import TlsSettings


@pytest.mark.parametrize(
    ("keys", "key", "message"),
    [
        ("transport: aiomqt", "transport", "must be awscrt or aiomqtt; did you mean aiomqtt?"),
        ("endpoint: mqtts://h", "endpoint", "write h"),
        ("endpoint:", "endpoint", "must be a host name"),
        ("port: 0", "port", "must be at least 1"),
        ("port: 65536", "port", "must be at most 65535"),
        ('port: "8883"', "port", "must be a whole number"),
        ("port: 8883.5", "port", "must be a whole number"),
        ("port: true", "port", "must be a whole number"),
        ('client_id: ""', "client_id", "must not be empty"),
        (f"client_id: {'ü' * 65}", "client_id", "must not be longer than 128 bytes"),
        ("client_id: a/#", "client_id", "must not contain # or + and must not begin with $"),
        ("client_id: a+b", "client_id", "must not contain # or + and must not begin with $"),
        ("client_id: $x", "client_id", "publishes no lifecycle events"),
        ("client_id: 5", "client_id", "must be text: put it in quotes"),
        ('client_id: "a\\0b"', "client_id", "must not contain a NUL character"),
        ('username: ""', "username", "must not be empty; did you mean null?"),
        ("password: secret", "password", "needs mqtt.username too"),
        ("password_file: secret", "password_file", "needs mqtt.username too"),
        ("protocol: 4", "protocol", "must be 5 or 3.1.1"),
        ("protocol: 3.1.1", "protocol", "needs mqtt.transport: aiomqtt"),
        ("tls:", "tls", "must be a mapping with cert, key and ca, or false"),
        ("tls: true", "tls", "or false for a plaintext broker on a trusted network"),
        ("tls: no", "tls", "must be a mapping with cert, key and ca, or false"),
        ("tls: {crt: x}", "tls.crt", "did you mean mqtt.tls.cert?"),
        ("tls: {cert: null}", "tls.key", "now mqtt.tls.cert is null"),
        ("tls: {key: null}", "tls.key", "now mqtt.tls.cert is a file"),
        ('tls: {ca: ""}', "tls.ca", "must not be empty"),
        ("tls: {ca: 5}", "tls.ca", "must be text"),
        ("connections: []", "connections", "must not be empty"),
        ("connections: [[]]", "connections[0]", "must not be empty"),
        ("connections:", "connections", "must be a list"),
        ('connections: "$aws/#"', "connections", 'did you mean [["$aws/#"]]?'),
        ('connections: ["$aws/#"]', "connections[0]", 'did you mean ["$aws/#"]?'),
        ('connections: [["$aws/#/x"]]', "connections[0][0]", "must have # only at the end"),
        ("connections: [[5]]", "connections[0][0]", "must be text"),
        (
            'connections: [["$aws/#", "$aws/events/#"]]',
            "connections",
            "twice: [0][1] $aws/events/#",
        ),
        ("qos: 2", "qos", "AWS IoT Core has no QoS 2"),
        ("qos: true", "qos", "must be 0 or 1"),
        ("keep_alive: 4s", "keep_alive", "must be from 5s to 20m"),
        ("keep_alive: 21m", "keep_alive", "must be from 5s to 20m"),
        ("keep_alive: 0", "keep_alive", "must be from 5s to 20m"),
        ("keep_alive: 5500ms", "keep_alive", "must be whole seconds"),
        ("session_expiry: 8d", "session_expiry", "must be from 0s to 7d"),
        ("session_expiry: -1s", "session_expiry", "must not be negative"),
        ("max_message_rate: 0", "max_message_rate", "must be at least 1"),
    ],
)
def test_bad_values_are_explained(load, keys, key, message):
    problem = load.problem(f"mqtt: {{{keys}}}" if keys.endswith("}") else f"mqtt:\n  {keys}\n")
    assert problem.key == f"mqtt.{key}"
    assert message in str(problem)


def test_at_most_eight_connections_of_eight_filters(load):
    connections = [[f"$aws/events/thing/{c}-{f}/created" for f in range(9)] for c in range(9)]
    fits = [filters[:8] for filters in connections[:8]]
    assert len(load(f"mqtt: {{connections: {fits}}}").mqtt.connections) == 8
    for too_many, key in (
        ([filters[:1] for filters in connections], "mqtt.connections"),
        (connections[:1], "mqtt.connections[0]"),
    ):
        problem = load.problem(f"mqtt: {{connections: {too_many}}}")
        assert (problem.key, problem.message) == (key, "must have at most 8 entries, not 9")


def test_many_overlaps_are_cut_short(load):
    problem = load.problem(f"mqtt: {{connections: {[['$aws/#'] * 4]}}}")
    assert problem.message.count("repeats") == 5
    assert problem.message.endswith("; and 1 more")


def test_each_connection_has_a_client_id(load):
    text = 'mqtt: {client_id: p, connections: [["$aws/events/job/#"], ["$aws/events/thing/#"]]}'
    assert load(text).mqtt.client_ids == ("p", "p-2")
    assert load().mqtt.client_ids == ("presenced",)


def test_the_last_client_id_must_fit_too(load):
    two = '[["$aws/events/job/#"], ["$aws/events/thing/#"]]'
    problem = load.problem(f"mqtt: {{client_id: {'x' * 127}, connections: {two}}}")
    assert problem.key == "mqtt.connections"
    assert problem.message.endswith("longer than 128 bytes: shorten mqtt.client_id")
    assert load(f"mqtt: {{client_id: {'x' * 126}, connections: {two}}}")


def test_tls_may_be_off(load):
    assert load("mqtt: {endpoint: localhost, tls: false}").mqtt.tls is None


@pytest.mark.parametrize("suffix", ["com", "com.cn", "COM", "com."])
def test_aws_is_never_plaintext(load, suffix):
    text = f"mqtt: {{endpoint: x-ats.iot.eu-west-1.amazonaws.{suffix}, tls: false}}"
    assert "AWS IoT Core accepts TLS only" in load.problem(text).message


@pytest.mark.parametrize("host", ["ec2-1.compute", "broker.elb.eu-west-1"])
def test_other_hosts_at_aws_may_be_plaintext_and_have_no_limit(load, host):
    text = f"mqtt: {{transport: aiomqtt, endpoint: {host}.amazonaws.com, tls: false}}"
    mqtt = load(text).mqtt
    assert (mqtt.tls, mqtt.message_rate_limit) == (None, None)


def test_tls_may_have_an_authority_only(load):
    tls = load("mqtt: {tls: {cert: null, key: null, ca: /ca.pem}}").mqtt.tls
    assert (tls.cert, tls.key, str(tls.ca)) == (None, None, "/ca.pem")


def test_tls_may_trust_the_system(load):
    assert load("mqtt: {tls: {ca: null}}").mqtt.tls == TlsSettings(ca=None)


@pytest.mark.parametrize("protocol", ["5", '"5"'])
def test_protocol_5_may_be_a_number(load, protocol):
    assert load(f"mqtt: {{protocol: {protocol}}}").mqtt.protocol == "5"


def test_old_brokers_are_for_aiomqtt(load):
    assert load("mqtt: {transport: aiomqtt, protocol: 3.1.1}").mqtt.protocol == "3.1.1"


def test_password_and_password_file_exclude_each_other(load):
    problem = load.problem("mqtt: {username: u, password: secret, password_file: f}")
    assert problem.key == "mqtt.password_file"
    assert "must not be set together with mqtt.password" in problem.message


def test_passwords_are_not_shown(load):
    settings = load("mqtt: {username: u, password: hunter2}")
    assert settings.mqtt.password.get_secret_value() == "hunter2"
    assert "hunter2" not in repr(settings)


@pytest.mark.parametrize(
    "text",
    [
        "mqtt: {password: hunter2}",
        "mqtt: {password: [hunter2]}",
        "mqtt: {username: u, pasword: hunter2}",
        "mqtt: {username: u, password: hunter2, password_file: f}",
        "mqtt: {endpoint: 'mqtt://u:hunter2@h/'}",
        "mqtt: {endpoint: 'u:hunter2@h'}",
        "mqtt: [{password: hunter2}]",
    ],
)
def test_passwords_are_not_shown_in_problems(load, text):
    for problem in load.problems(text):
        assert "hunter2" not in str(problem)
        assert "hunter2" not in repr(problem)


def test_password_from_the_environment_is_text_as_it_stands(load):
    environ = {"PRESENCED_MQTT__USERNAME": "u", "PRESENCED_MQTT__PASSWORD": "0123"}
    assert load("", environ).mqtt.password.get_secret_value() == "0123"


AWS_ENDPOINT = "abc-ats.iot.eu-west-1.amazonaws.com"


@pytest.mark.parametrize(
    ("keys", "limit"),
    [
        ("", None),
        ("transport: aiomqtt, ", None),
        (f"endpoint: {AWS_ENDPOINT}, ", 100),
        (f"transport: aiomqtt, endpoint: {AWS_ENDPOINT}, ", 100),
        ("endpoint: abc.ats.iot.cn-north-1.amazonaws.com.cn, ", 100),
        ("max_message_rate: 100, ", 100),
        ("transport: aiomqtt, max_message_rate: 100, ", 100),
        ("transport: aiomqtt, max_message_rate: null, ", None),
        ("max_message_rate: null, ", None),
        ("max_message_rate: 500, ", 500),
    ],
)
def test_the_message_rate_is_limited_on_aws_or_where_it_is_set(load, keys, limit):
    endpoint = "" if "endpoint" in keys else "endpoint: broker.example, "
    settings = load(f"mqtt: {{{keys}{endpoint}port: 8883}}")
    assert settings.mqtt.message_rate_limit == limit


def test_no_limit_of_the_message_rate_by_environment(load):
    environ = {"PRESENCED_MQTT__ENDPOINT": AWS_ENDPOINT}
    assert load("", environ).mqtt.message_rate_limit == 100
    environ |= {"PRESENCED_MQTT__MAX_MESSAGE_RATE": "null"}
    assert load("", environ).mqtt.message_rate_limit is None
