import os
from pathlib import Path

import pytest

from presenced.settings import FLAGS, Settings, SettingsError, load_settings
from presenced.settings.keys import KEYS, nearest_key


@pytest.mark.parametrize("text", ["", "# nothing\n", "---\n", "null\n", "mqtt:\nlog:\n", "{}"])
def test_empty_files_and_sections_are_defaults(load, text):
    assert load(text) == Settings()


@pytest.mark.parametrize("text", ["", "# nothing\n", "log: {level: info}\n"])
def test_a_key_that_is_not_set_names_the_file(load, text):
    problem = load.problem(text, require_endpoint=True)
    assert str(problem).startswith(f'{load.path}: mqtt.endpoint = "": is not set: ')


def test_defaults_are_those_of_the_contract():
    settings = Settings()
    assert settings.model_dump(mode="json") == {
        "source": "mqtt",
        "mqtt": {
            "transport": "awscrt",
            "endpoint": "",
            "auth": "certificate",
            "port": 8883,
            "server_name": None,
            "client_id": "presenced",
            "authorizer": {
                "name": None,
                "token_key_name": None,
                "token": None,
                "token_file": None,
                "signature": None,
                "signature_file": None,
            },
            "username": None,
            "password": None,
            "password_file": None,
            "protocol": "5",
            "tls": {
                "cert": "/etc/presenced/certs/certificate.pem.crt",
                "key": "/etc/presenced/certs/private.pem.key",
                "ca": "/etc/presenced/certs/AmazonRootCA1.pem",
                "refresh": 300.0,
                "pkcs11": {"library": None, "token": None, "key": None, "pin_file": None},
            },
            "proxy": None,
            "proxy_password_file": None,
            "connections": [["$aws/events/#"]],
            "qos": 1,
            "keep_alive": 30.0,
            "session_expiry": 3600.0,
            "max_message_rate": 100,
        },
        "sqs": {"queue_url": None, "receivers": 4},
        "kafka": {
            "bootstrap_servers": [],
            "topic": "presenced.events",
            "global_topic": "presenced.global",
            "state_topic": "presenced.state",
            "global_state_topic": "presenced.global-state",
            "group": "presenced",
            "instance_id": None,
            "lease": 20.0,
            "security": {
                "protocol": "SSL",
                "ca": None,
                "cert": None,
                "key": None,
                "mechanism": None,
                "username": None,
                "password_file": None,
            },
        },
        "presence": {
            "offline_delay": 5.0,
            "offline_delay_by_reason": {},
            "timestamp_accuracy": 120.0,
            "version_reset_after": 3600.0,
            "forget_offline_after": 30 * 86400.0,
            "damping": {
                "enabled": False,
                "half_life": 900.0,
                "suppress_after": 3.0,
                "reuse_below": 0.75,
            },
            "ignore_clients": ["iotconsole-*"],
            "clients": [
                {
                    "match": "$GEN/*",
                    "offline_delay": None,
                    "forget_offline_after": 600.0,
                    "series": False,
                }
            ],
            "status_topics": [],
            "thing_pattern": None,
        },
        "aws": {
            "region": None,
            "role_alias": None,
            "credentials_endpoint": None,
            "thing_name": None,
            "iot_url": None,
            "data_url": None,
            "proxy": None,
            "proxy_password_file": None,
        },
        "reconcile": {
            "enabled": False,
            "snapshot_every": 6 * 3600.0,
            "searches_per_second": 5.0,
            "lookups_per_second": 50.0,
            "verify_offline": "always",
            "seed_registry": True,
        },
        "metrics": {
            "listen": ":9883",
            "per_client": True,
            "max_clients": 20000,
            "client_id_pattern": None,
            "thing_attributes": [],
            "thing_groups": ["*"],
            "web_config": None,
            "health_listen": None,
            "allowed_hosts": [],
            "enable_reload_endpoint": False,
            "api": True,
        },
        "history": {"clients": 10_000, "per_client": 20},
        "state": {"path": None, "on_error": "continue"},
        "log": {"level": "info", "format": "auto"},
    }


def test_settings_do_not_change():
    with pytest.raises(ValueError, match="frozen"):
        Settings().mqtt.port = 1


def test_all_problems_are_reported_at_once(load):
    problems = load.problems(
        """\
        mqtt:
          keep_alvie: 30s
          port: 99999
        log: {level: info, level: debg}
        """,
        {"PRESENCED_MQTT__QOS": "2", "PRESENCED_NOTHING": "1"},
        overrides={"metrics.listen": "localhost"},
        require_endpoint=True,
    )
    assert {(p.key, p.origin) for p in problems} == {
        ("log.level", f"{load.path}:4"),
        ("", "PRESENCED_NOTHING"),
        ("mqtt.endpoint", f"{load.path}:1"),
        ("mqtt.port", f"{load.path}:3"),
        ("mqtt.qos", "PRESENCED_MQTT__QOS"),
        ("mqtt.keep_alvie", f"{load.path}:2"),
        ("metrics.listen", "--listen"),
    }
    assert len(problems) == 8


def test_a_problem_reads_like_a_compiler_message(load):
    (problem,) = load.problems("mqtt:\n  port: 99999\n")
    assert str(problem) == f"{load.path}:2: mqtt.port = 99999: must be at most 65535"
    assert str(SettingsError([problem, problem])) == f"{problem}\n{problem}"


def test_lists_name_the_entry_and_its_line(load):
    problem = load.problem(
        """\
        mqtt:
          connections:
            - - "$aws/events/#"
            - - "$aws/events/presence/#/x"
        """
    )
    assert (problem.key, problem.origin) == ("mqtt.connections[1][0]", f"{load.path}:4")


def test_long_values_are_cut(load):
    assert len(load.problem(f"log: {{level: {'x' * 5000}}}").value) < 100


@pytest.mark.parametrize(
    ("key", "nearest"),
    [
        ("mqtt.keep_alvie", "mqtt.keep_alive"),
        ("mqtt.keepAlive", "mqtt.keep_alive"),
        ("mqtt.keep-alive", "mqtt.keep_alive"),
        ("mqtt.tls.certificate", "mqtt.tls.cert"),
        ("mqtt.cert", "mqtt.tls.cert"),
        ("presence.port", "mqtt.port"),
        ("endpoint", "mqtt.endpoint"),
        ("metrics.level", "log.level"),
        ("mqtt.level", "log.level"),
        ("matrics", "metrics"),
        ("logging", "log"),
        ("mqtt.xyzzy", None),
    ],
)
def test_nearest_key(key, nearest):
    assert nearest_key(key, KEYS) == nearest


def test_unknown_key_that_resembles_none_lists_those_known(load):
    assert load.problem("log: {xyzzy: 1}").message == (
        "unknown key; known here are log.level, log.format"
    )
    known = "known here are source, mqtt, sqs, kafka, presence, aws, reconcile, metrics"
    assert known in load.problem("xyzzy: 1").message


@pytest.mark.parametrize("text", ["- mqtt", "mqtt", "5"])
def test_the_file_must_hold_a_mapping(load, text):
    problem = load.problem(text)
    assert problem.message.startswith("must contain a mapping with the keys source, mqtt, sqs")
    assert problem.origin == f"{load.path}:1:1"


@pytest.mark.parametrize("section", ["5", "[a]", "text"])
def test_sections_must_be_mappings(load, section):
    problem = load.problem(f"mqtt: {section}")
    assert (problem.key, problem.message) == (
        "mqtt",
        "must be a mapping, with one key to a line",
    )


def repeating(first, line):
    """YAML of twenty lines, each of which repeats the one before nine times."""
    aliases = (", ".join([f"*k{n}"] * 9) for n in range(19))
    values = [first, *(line.replace("ALIASES", each) for each in aliases)]
    return "".join(f"k{n}: &k{n} {value}\n" for n, value in enumerate(values))


BOMB = repeating("[x]", "[ALIASES]")
MERGES = repeating("{x: 1}", "{<<: [ALIASES]}")


@pytest.mark.parametrize(
    ("text", "place", "message"),
    [
        ("mqtt:\n\tport: 1\n", ":2:1", "indent with spaces, not tabs"),
        ("mqtt:\n  client_id: @x\n", ":2:14", "any token; put the value in quotes"),
        ("mqtt:\n  client_id: a: b\n", ":2:15", "put a value that contains ': ' in quotes"),
        ("mqtt:\n    port: 1\n  qos: 1\n", ":3:3", "begin in the same column"),
        ("mqtt: [1\n", ":2:1", "is not YAML"),
        ("mqtt:\n  listen: [::1]:9883\n", ":2:12", "is not YAML"),
        ("a: 1\n---\nb: 2\n", ":2:1", "expected a single document"),
        ("mqtt: !!python/object:os.system {}\n", ":1:7", "has a tag, which is not supported"),
        ("mqtt: {port: !!int x}\n", ":1:14", "does not fit the tag tag:yaml.org,2002:int; leave"),
        ("log: {level: !!timestamp x}\n", ":1:14", "does not fit the tag"),
        ("metrics: {api: !!bool maybe}\n", ":1:16", "does not fit the tag"),
        ("mqtt: {port: !!int ''}\n", ":1:14", "does not fit the tag"),
        ("mqtt: {port: !secret x}\n", ":1:14", "could not determine a constructor"),
        ("log: &a {level: *a}\n", ":1:6", "alias of a value that the alias is part of"),
        ("? [a]\n: 1\n", ":1:3", "has a list or a mapping where a key should be"),
        ("log: {level: a\x07}\n", "", "contains a character that YAML forbids: see line 1"),
        ("[" * 5000, ":1:21", "is nested more than 20 deep"),
        (f"a: [{'x,' * 10_000}]\n", ":1:20003", "contains more than 10,000 values"),
        (BOMB, ":5:35", "contains more than 10,000 values, with aliases written out"),
        (MERGES, ":5:25", "contains more than 10,000 values, with aliases written out"),
        (f"# {'x' * 2**20}\n", "", "is larger than 1 MiB"),
    ],
)
def test_bad_yaml_names_the_place(load, text, place, message):
    problem = load.problem(text)
    assert message in problem.message
    assert problem.origin == f"{load.path}{place}"


@pytest.mark.parametrize(
    "value",
    [
        "*SECRETPW",
        "!SECRETPW x",
        "!SECRETPW [x]",
        "!SECRET!PW x",
        "&SECRETPW a\n  client_id: &SECRETPW b",
        "'SECRETPW' SECRETPW",
        '"SECRETPW\\q"',
        "{SECRETPW: x",
        "[SECRETPW, !SECRETPW",
        "%SECRETPW",
        "SECRETPW: SECRETPW",
        "*SECRET'PW\"",
    ],
)
def test_an_error_of_yaml_quotes_no_value(load, value):
    """It may be a password without quotation marks, and goes to the log."""
    problems = load.problems(f"mqtt:\n  username: u\n  password: {value}\n")
    assert problems
    assert "SECRET" not in "".join(map(str, problems))


def test_a_file_at_the_limit_is_read(load):
    settings = load(f"presence: {{ignore_clients: [{'x,' * 9990}]}}")
    assert len(settings.presence.ignore_clients) == 9990


def test_many_problems_are_counted(load):
    problems = load.problems("".join(f"unknown_{n}: 1\n" for n in range(2000)))
    assert len(problems) == 101
    assert str(problems[-1]) == f"{load.path}: problems that are left out of this list: 1,900"


@pytest.mark.parametrize("key", ["{}", "mqtt.{}", "presence.offline_delay_by_reason.{}"])
def test_a_very_long_name_resembles_none(load, key):
    *sections, last = key.format("x" * 500_000).split(".")
    text = (
        "".join(f"{section}: {{" for section in sections) + f"? {last}\n: 1s" + "}" * len(sections)
    )
    assert all(problem.nearest is None for problem in load.problems(text))


def test_duplicate_keys_name_both_lines(load):
    problem = load.problem("log:\n  level: info\nmqtt:\n  port: 1\nlog:\n  level: debug\n")
    assert (problem.key, problem.origin) == ("log", f"{load.path}:5")
    assert problem.message == "is set twice: first in line 1"


def test_merged_mappings_are_no_duplicates(load):
    settings = load(
        """\
        log: &log
          level: debug
        state: {}
        mqtt:
          tls: &tls {ca: /ca}
        """
    )
    assert settings.log.level == "debug"
    text = """\
        mqtt:
          tls:
            <<: &base {cert: /c, key: /k}
            ca: /a
            cert: /d
        """
    tls = load(text).mqtt.tls
    assert [str(path) for path in (tls.cert, tls.key, tls.ca)] == ["/d", "/k", "/a"]


@pytest.mark.parametrize("text", ["yes", "no", "on", "off", "010", "1_000", "2026-11-21", "0x10"])
def test_words_of_yaml_1_1_are_text(load, text):
    assert load(f"mqtt: {{client_id: {text}}}").mqtt.client_id == text


def test_missing_file(tmp_path):
    with pytest.raises(SettingsError, match="no such file") as caught:
        load_settings(tmp_path / "nothing.yaml", environ={})
    assert caught.value.problems[0].kind == "missing"


def test_directory(tmp_path):
    with pytest.raises(SettingsError, match="is a directory") as caught:
        load_settings(tmp_path, environ={})
    assert caught.value.problems[0].kind == "unreadable"


def test_file_that_may_not_be_read(load, monkeypatch):
    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", refuse)
    assert load.problem().message == "may not be read by this user"


def test_file_that_is_not_utf8(load):
    assert load.problem(b"log:\n  level: \xff\n").message == "is not UTF-8 text: see line 2"


def test_byte_order_mark_is_no_key(load):
    assert load("\ufefflog: {level: debug}").log.level == "debug"


def test_relative_paths_are_relative_to_the_file(load):
    settings = load(
        "mqtt: {tls: {cert: c.pem, key: ../k.pem, ca: /ca.pem}}\nstate: {path: s.db}",
        {"PRESENCED_MQTT__PASSWORD_FILE": "p", "PRESENCED_MQTT__USERNAME": "u"},
    )
    directory = load.path.parent
    assert settings.mqtt.tls.cert == directory / "c.pem"
    assert settings.mqtt.tls.key == directory / "../k.pem"
    assert settings.mqtt.tls.ca == Path("/ca.pem")
    assert settings.state.path == directory / "s.db"
    assert settings.mqtt.password_file == Path("p")


def test_endpoint_is_required_to_connect(load):
    problem = load.problem("", require_endpoint=True)
    assert problem.key == "mqtt.endpoint"
    assert "is not set" in problem.message
    assert "aws iot describe-endpoint --endpoint-type iot:Data-ATS" in problem.message


@pytest.mark.parametrize("name", ["xxxxxxxxxxxxxx-ats.iot.us-gov-west-1", "XXXXXXXX-ats.iot.x"])
def test_the_placeholder_of_the_example_is_no_endpoint(load, name):
    text = f"mqtt: {{endpoint: {name}.amazonaws.com}}"
    problem = load.problem(text, require_endpoint=True)
    assert problem.key == "mqtt.endpoint"
    assert "is the placeholder of the example" in problem.message
    assert "aws iot describe-endpoint --endpoint-type iot:Data-ATS" in problem.message
    assert load(text)


def test_endpoint_is_required_without_any_file():
    with pytest.raises(SettingsError, match=r"mqtt.endpoint.*is not set"):
        load_settings(None, environ={})


def test_no_file_is_needed():
    settings = load_settings(None, environ={"PRESENCED_MQTT__ENDPOINT": "h"})
    assert settings == load_settings(None, environ={}, overrides={"mqtt.endpoint": "h"})


def test_the_process_environment_is_the_default(monkeypatch):
    for name in [name for name in os.environ if name.startswith("PRESENCED_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PRESENCED_MQTT__ENDPOINT", "h")
    assert load_settings(None).mqtt.endpoint == "h"


def test_flags_beat_environment_beats_file(load):
    text = "mqtt: {endpoint: file, client_id: file, port: 1}"
    environ = {"PRESENCED_MQTT__ENDPOINT": "env", "PRESENCED_MQTT__CLIENT_ID": "env"}
    mqtt = load(text, environ, overrides={"mqtt.endpoint": "flag"}).mqtt
    assert (mqtt.endpoint, mqtt.client_id, mqtt.port) == ("flag", "env", 1)


def test_flags_not_given_change_nothing(load):
    assert load("log: {level: debug}", overrides=dict.fromkeys(FLAGS)).log.level == "debug"


def test_a_certificate_flag_turns_tls_on(load):
    settings = load("mqtt: {tls: false}", overrides={"mqtt.tls.cert": "c.pem"})
    assert settings.mqtt.tls.cert == Path("c.pem")


def test_every_flag_is_a_key_and_named_in_its_problems(load):
    assert set(FLAGS) <= set(KEYS)
    for key, flag in FLAGS.items():
        assert load.problem(overrides={key: []}).origin == flag
