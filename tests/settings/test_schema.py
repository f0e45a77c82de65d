import json
import subprocess
import sys
from itertools import dropwhile, takewhile
from pathlib import Path

import pytest
import yaml
from jsonschema import Draft202012Validator

from presenced.events.model import DISCONNECT_REASONS
from presenced.settings import Settings, SettingsError, load_settings
from presenced.settings.keys import KEYS
from presenced.settings.reference import json_schema

CONFIG = Path(__file__).parents[2] / "config"
EXAMPLE = CONFIG / "presenced.yaml"

ACCEPTED = [
    "{}",
    "mqtt:",
    "mqtt: {tls: false}",
    "mqtt: {tls: {cert: null, key: null}}",
    "mqtt: {transport: aiomqtt, protocol: 3.1.1, username: u, password: p}",
    "mqtt: {protocol: 5, qos: 0, port: 443}",
    'mqtt: {connections: [["$aws/events/presence/#"], ["$aws/events/job/#"]]}',
    "mqtt: {proxy: 'http://u@proxy:3128', proxy_password_file: p}",
    "mqtt: {auth: custom, authorizer: {name: a, token_key_name: t, token: x, signature_file: s}}",
    "mqtt: {transport: aiomqtt, server_name: broker.example}",
    "aws: {proxy: 'http://u:p@proxy:3128'}",
    "source: sqs\nsqs: {queue_url: 'https://sqs.eu-west-1.amazonaws.com/111122223333/q'}",
    "source: kafka\nmqtt:\nkafka: {bootstrap_servers: ['a:9092'], lease: 3s, instance_id: a-0}",
    "kafka: {security: {protocol: PLAINTEXT}}",
    "kafka: {security: {protocol: SASL_SSL, mechanism: PLAIN, username: u, password_file: p}}",
    "metrics: {thing_groups: []}",
    "presence: {offline_delay: 0, timestamp_accuracy: 0s, version_reset_after: 1h30m}",
    "presence: {offline_delay: 0.5s, forget_offline_after: 1d2h3m4s5ms}",
    "presence: {offline_delay_by_reason: {CONNECTION_LOST: 30s, NEW_ONE: 0}}",
    "presence: {clients: []}",
    "presence: {status_topics: [{filter: a/+, client_id: '{1}', online: a, offline: b}]}",
    "presence: {clients: [{match: 'a*', offline_delay: 0, series: false}, {match: b}]}",
    "presence: {thing_pattern: '(?P<thing>.+?)(-jobs)?'}",
    'metrics: {client_id_pattern: "(?P<site>[a-z]+)-.*", max_clients: 0, per_client: false}',
    "metrics: {api: false}\nhistory: {clients: 0, per_client: 1}",
    "aws: {region: eu-west-1, iot_url: 'https://iot.example.com', data_url: 'http://[::1]:8443'}",
    "aws: {role_alias: a, credentials_endpoint: c.example.com, thing_name: presenced}",
    "reconcile: {searches_per_second: 0.5, lookups_per_second: 350, verify_offline: never}",
    "reconcile: {enabled: true, snapshot_every: 0s, seed_registry: false}",
    "metrics: {listen: '[::1]:0', thing_attributes: [a]}\nlog: {level: debug, format: json}",
]
REJECTED = [
    "[]",
    "xyzzy: 1",
    "mqtt: {xyzzy: 1}",
    "mqtt: {tls: true}",
    "mqtt: {tls: null}",
    "mqtt: {tls: {crt: x}}",
    "mqtt: {qos: 2}",
    "mqtt: {port: 0}",
    "mqtt: {port: '8883'}",
    "mqtt: {protocol: 4}",
    "mqtt: {transport: paho}",
    "mqtt: {connections: []}",
    "mqtt: {connections: ['a']}",
    "mqtt: {keep_alive: 30}",
    "mqtt: {client_id: 5}",
    "mqtt: {auth: password}",
    "mqtt: {authorizer: {key: x}}",
    "mqtt: {proxy: {host: x}}",
    "source: amqp",
    "source: null",
    "sqs: {queue_url: 5}",
    "sqs: {receivers: 0}",
    "kafka: {bootstrap_servers: 'a:9092'}",
    "kafka: {lease: 20}",
    "kafka: {topic: null}",
    "kafka: {security: {protocol: TLS}}",
    "kafka: {security: {mechanism: GSSAPI}}",
    "kafka: {security: {password: p}}",
    "metrics: {thing_groups: '*'}",
    "presence: {offline_delay: 5}",
    "presence: {offline_delay: -5s}",
    "presence: {offline_delay: 5 s}",
    "presence: {offline_delay: 30m1h}",
    "presence: {offline_delay_by_reason: {CONNECTION_LOST: 30}}",
    "presence: {offline_delay_by_reason: {gone: 30s}}",
    "aws: {region: 5}",
    "aws: {regoin: eu-west-1}",
    "reconcile: {enabled: 1}",
    "reconcile: {searches_per_second: 0}",
    "reconcile: {lookups_per_second: '50'}",
    "reconcile: {lookups_per_second: true}",
    "reconcile: {verify_offline: true}",
    "reconcile: {snapshot_every: 6}",
    "metrics: {listen: 9883}",
    "metrics: {per_client: 'yes'}",
    "metrics: {max_clients: -1}",
    "metrics: {api: 1}",
    "presence: {clients: [{series: false}]}",
    "presence: {clients: [{match: a, serie: false}]}",
    "presence: {status_topics: [{filter: a/+}]}",
    "history: {clients: -1}",
    "history: {per_client: 0}",
    "log: {level: warn}",
]


@pytest.fixture(scope="module")
def validator():
    schema = json_schema()
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


def keys_of(tree, parent=""):
    for name, value in tree.items():
        yield f"{parent}{name}"
        if isinstance(value, dict):
            yield from keys_of(value, f"{parent}{name}.")


@pytest.mark.parametrize("text", ACCEPTED)
def test_schema_accepts_what_the_loader_accepts(validator, load, text):
    load(text)
    validator.validate(yaml.safe_load(text))


@pytest.mark.parametrize("text", REJECTED)
def test_schema_and_loader_reject(validator, load, text):
    assert load.problems(text)
    assert not validator.is_valid(yaml.safe_load(text))


def test_committed_schema_is_current():
    command = [sys.executable, "-W", "error", "-m", "presenced.settings.reference", "--schema"]
    printed = subprocess.run(command, capture_output=True, text=True, check=True)
    assert (CONFIG / "presenced.schema.json").read_text() == printed.stdout, "run make docs"
    assert printed.stderr == ""


def test_schema_names_its_dialect():
    assert json_schema()["$schema"] == "https://json-schema.org/draft/2020-12/schema"


def test_schema_describes_every_key():
    schema = json_schema()
    for definition in schema["$defs"].values():
        assert definition["description"]
        assert not definition["additionalProperties"]
        for name, described in definition["properties"].items():
            assert described["description"], name
            assert "\n" not in described["description"]
    names = [name for part in (schema, *schema["$defs"].values()) for name in part["properties"]]
    entry_keys = [name for key in KEYS.values() for name in key.entry_keys]
    assert sorted(names) == sorted([*(key.rpartition(".")[2] for key in KEYS), *entry_keys])


def test_schema_shows_defaults_as_the_file_would():
    definitions = json_schema()["$defs"]
    assert definitions["MqttSettings"]["properties"]["keep_alive"]["default"] == "30s"
    ca = definitions["TlsSettings"]["properties"]["ca"]["default"]
    assert ca == "/etc/presenced/certs/AmazonRootCA1.pem"


def test_example_begins_with_its_schema():
    first = EXAMPLE.read_text().splitlines()[0]
    assert first == "# yaml-language-server: $schema=./presenced.schema.json"


def test_example_follows_the_schema(validator):
    validator.validate(yaml.safe_load(EXAMPLE.read_text()))


def test_example_holds_every_default():
    settings = load_settings(EXAMPLE, environ={}, require_endpoint=False)
    endpoint = "xxxxxxxxxxxxxx-ats.iot.eu-west-1.amazonaws.com"
    assert settings == Settings.model_validate({"mqtt": {"endpoint": endpoint}})


def test_example_holds_every_key():
    keys = list(keys_of(yaml.safe_load(EXAMPLE.read_text())))
    assert sorted(keys) == sorted(KEYS)


def test_example_explains_every_key():
    lines = EXAMPLE.read_text().splitlines()
    for name, value in yaml.safe_load(EXAMPLE.read_text()).items():
        line = f"{name}:" if isinstance(value, dict) else f"{name}: {value}"
        assert lines[lines.index(line) - 1].startswith("# ")


def commented(start):
    """Return an example in the comments as YAML."""
    lines = iter(EXAMPLE.read_text().splitlines())
    rest = dropwhile(lambda line: not line.startswith(f"  #   {start}"), lines)
    return "\n".join("  " + line[6:] for line in takewhile(lambda x: x.startswith("  #   "), rest))


def test_examples_in_the_comments_work(load):
    delays = load("presence:\n" + commented("offline_delay_by_reason")).presence
    assert delays.offline_delay_by_reason == {
        "CLIENT_INITIATED_DISCONNECT": 0,
        "MQTT_KEEP_ALIVE_TIMEOUT": 30,
    }
    metrics = load("metrics:\n" + commented("client_id_pattern")).metrics
    assert metrics.client_id_pattern.match("berlin-3-pump").groupdict() == {
        "site": "berlin",
        "line": "3",
    }
    mqtt = load("mqtt:\n connections:\n" + commented('- ["$aws')).mqtt
    assert [len(filters) for filters in mqtt.connections] == [1, 2]


def test_example_names_every_known_reason():
    text = EXAMPLE.read_text()
    assert [reason for reason in DISCONNECT_REASONS if reason not in text] == []


def test_loader_explains_more_than_the_schema(load):
    with pytest.raises(SettingsError, match=r"did you mean mqtt\.keep_alive"):
        load("mqtt: {keep_alvie: 1s}")


def test_schema_file_is_json():
    assert json.loads((CONFIG / "presenced.schema.json").read_text()) == json_schema()
