import pytest

STATUS = "{filter: a/+, client_id: '{1}', online: up"


@pytest.mark.parametrize(
    ("keys", "key", "message"),
    [
        ("offline_delay: 5", "offline_delay", "= 5: has no unit: write 5s if seconds are meant"),
        ("offline_delay: 1.5", "offline_delay", "has no unit: write 1.5s"),
        ("offline_delay: -5", "offline_delay", "must not be negative"),
        ("offline_delay: true", "offline_delay", "is not a duration: write it as 500ms"),
        ("offline_delay:", "offline_delay", "is not a duration"),
        ("offline_delay: [5s]", "offline_delay", "is not a duration"),
        ("offline_delay: .inf", "offline_delay", "is not a duration"),
        ("offline_delay: 1:30", "offline_delay", '"1:30": is not a duration'),
        ("offline_delay_by_reason:", "offline_delay_by_reason", "did you mean {}?"),
        ("offline_delay_by_reason: 5s", "offline_delay_by_reason", "must be a mapping"),
        ("version_reset_after: 8m", "version_reset_after", "here 8m: otherwise a version"),
        ("timestamp_accuracy: 15m", "version_reset_after", "presence.timestamp_accuracy, here 1h"),
        ("forget_offline_after: 0", "forget_offline_after", "write 36500d to never forget"),
        ("ignore_clients: x-*", "ignore_clients", 'must be a list; did you mean ["x-*"]?'),
        ("ignore_clients:", "ignore_clients", "must be a list; did you mean []?"),
        ('ignore_clients: [""]', "ignore_clients[0]", "must not be empty"),
        ("thing_pattern: a-.*", "thing_pattern", "has no group named thing"),
        ("thing_pattern: '(?P<thing>a'", "thing_pattern", "is not a regular expression"),
        ("thing_pattern: '(?P<thing>(a+)+)b'", "thing_pattern", "+ repeats a part that can"),
        ("clients: [{series: false}]", "clients[0].match", "is not set"),
        ('clients: [{match: ""}]', "clients[0].match", "must not be empty"),
        ("clients: [{match: a, serie: true}]", "clients[0].serie", "did you mean series?"),
        ("clients: [{match: a, xyz: 5s}]", "clients[0].xyz", "known here are match, offline_de"),
        ("clients: [{match: a, offline_delay: 5}]", "clients[0].offline_delay", "write 5s"),
        (
            "clients: [{match: a, forget_offline_after: 0s}]",
            "clients[0].forget_offline_after",
            "0s",
        ),
        ("clients: {match: a}", "clients", "must be a list"),
        ("damping: true", "damping", "must be a mapping"),
        ("damping: {half_life: 10s}", "damping.half_life", "must be from 1m to 1d"),
        ("damping: {suppress_after: 0.5}", "damping.reuse_below", "suppress_after, here 0.5"),
        ("damping: {suppress_after: 12}", "damping.reuse_below", "more than a sixteenth of it"),
        ("damping: {reuse_below: 0}", "damping.reuse_below", "must be more than 0"),
        (
            "damping: {half_live: 1h}",
            "damping.half_live",
            "did you mean presence.damping.half_life?",
        ),
        (f"status_topics: [{STATUS}, offline: up}}]", "status_topics[0].offline", "must differ"),
        (f"status_topics: [{STATUS}, offline: ''}}]", "status_topics[0].offline", "be empty"),
        (f"status_topics: [{STATUS}, offline: 0}}]", "status_topics[0].offline", "must be text"),
        (
            f"status_topics: [{STATUS}, offline: x, pointer: a.b}}]",
            "status_topics[0].pointer",
            "did you mean /a/b?",
        ),
        (
            "status_topics: [{filter: a/+, client_id: '{2}', online: a, offline: b}]",
            "status_topics[0].client_id",
            "and the filter has 1",
        ),
        (
            "status_topics: [{filter: a/+, client_id: x, online: a, offline: b}]",
            "status_topics[0].client_id",
            "must refer to a wildcard",
        ),
        ("status_topics: [{filter: $aws/+}]", "status_topics[0].filter", "must not begin with $"),
        ("status_topics: [{filter: $share/g/+}]", "status_topics[0].filter", "must not be shared"),
        ("status_topics: [{filter: a+/b}]", "status_topics[0].filter", "between two slashes"),
        ("status_topics: [{filter: a/#/b}]", "status_topics[0].filter", "only at the end"),
        ('status_topics: [{filter: ""}]', "status_topics[0].filter", "must not be empty"),
        (
            f"status_topics: [{STATUS}, offline: d}}, {STATUS}, offline: d}}]",
            "status_topics",
            "match the same topic",
        ),
        ("thing_pattern: 5", "thing_pattern", "must be text"),
    ],
)
def test_bad_values_are_explained(load, keys, key, message):
    problem = load.problems(f"presence:\n  {keys}\n")[0]
    assert problem.key == f"presence.{key}"
    assert message in str(problem)


@pytest.mark.parametrize(
    ("reason", "message"),
    [
        ("CONNECTON_LOST", "did you mean CONNECTION_LOST?"),
        ("CLIENT_INITIATED_DISCONECT", "did you mean CLIENT_INITIATED_DISCONNECT?"),
        ("DUPLICATE_CLIENT_ID", "did you mean DUPLICATE_CLIENTID?"),
        ("AUTH_ERR", "did you mean AUTH_ERROR?"),
        ("connection_lost", "did you mean CONNECTION_LOST?"),
        ("Connection-Lost", "did you mean CONNECTION_LOST?"),
        ("throtled", "did you mean THROTTLED?"),
        ("gone", "capital letters and underscores"),
        ('""', "capital letters and underscores"),
    ],
)
def test_misspelt_reasons_are_explained(load, reason, message):
    problem = load.problem(f"presence: {{offline_delay_by_reason: {{{reason}: 5s}}}}")
    assert problem.key.startswith("presence.offline_delay_by_reason.")
    assert str(problem).endswith(message)


@pytest.mark.parametrize(
    "reason",
    [
        "API_INITIATED_DISCONNECT",
        "ADMIN_INITIATED_DISCONNECT",
        "USER_INITIATED_DISCONNECT",
        "X509_REVOKED",
        "UNKNOWN",
    ],
)
def test_reasons_that_aws_may_add_pass(load, reason):
    settings = load(f"presence: {{offline_delay_by_reason: {{{reason}: 500ms}}}}")
    assert settings.presence.offline_delay_by_reason == {reason: 0.5}


def test_bad_delay_of_a_reason_is_named(load):
    problem = load.problem("presence: {offline_delay_by_reason: {THROTTLED: 5}}")
    assert "presence.offline_delay_by_reason.THROTTLED = 5: has no unit" in str(problem)


def test_zero_is_at_once(load):
    assert load("presence: {offline_delay: 0}").presence.offline_delay == 0


@pytest.mark.parametrize(
    "pattern",
    [
        "(?P<thing>.+?)(-jobs|-shadow)?",
        "(?P<thing>[^-]+)-[^-]+-[^-]+-[^-]+-[^-]+-[^-]+",
        r"^(?P<thing>pump-\d+)(?:-(?:jobs|shadow))?$",
        ".*-.*-(?P<thing>.*)",
        "(?P<thing>[a-z]{3}(?:[0-9]{2}){4})-.*",
        r"(?i)(?P<thing>[^\]]+)\].*",
    ],
)
def test_usual_patterns_of_things_are_accepted(load, pattern):
    assert load(f"presence: {{thing_pattern: '{pattern}'}}").presence.thing_pattern


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("(?P<thing>(a|aa)+)b", "+ repeats a part that can match in several ways"),
        ("(?P<thing>([a-z]+-)*)x", "* repeats a part"),
        ("(?P<thing>(a?b?){30})c", "{30} repeats a part"),
        ("(?P<thing>(?:(?:a{1,2})){5,})c", "{5,} repeats a part"),
        ("(?P<thing>.*).*.*.*x", "4 of its repeats can end anywhere"),
        (r"(?P<thing>\w+)_\w+_\w+_\w+_x", "as in [^-]*-"),
        ("(?x)(?P<thing>a)", "must not have the flag x"),
    ],
)
def test_patterns_that_could_hold_the_loop_are_refused(load, pattern, message):
    problem = load.problem(f"presence: {{thing_pattern: '{pattern}'}}")
    assert problem.key == "presence.thing_pattern"
    assert message in str(problem)


def test_kafka_divides_the_clients_of_a_thing(load):
    text = "source: kafka\nmqtt:\nkafka: {bootstrap_servers: ['a:9092']}\n"
    problem = load.problem(text + "presence: {thing_pattern: '(?P<thing>.+)-x'}")
    assert problem.key == "presence.thing_pattern"
    assert "different partitions" in str(problem)


@pytest.mark.parametrize(
    ("connections", "status", "wrong"),
    [
        ("[[]]", True, None),
        ('[[], ["$aws/events/#"]]', True, None),
        ("[[]]", False, "mqtt.connections[0]"),
        ('[["$aws/events/#"], []]', True, "mqtt.connections[1]"),
    ],
)
def test_a_connection_may_have_status_topics_alone(load, connections, status, wrong):
    text = f"mqtt: {{connections: {connections}}}\n"
    if status:
        text += f"presence: {{status_topics: [{STATUS}, offline: down}}]}}\n"
    if wrong is None:
        assert load(text).presence.status_filters == ["a/+"]
    else:
        problem = load.problem(text)
        assert (problem.key, problem.message) == (wrong, "must not be empty")
