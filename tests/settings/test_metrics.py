import pytest


@pytest.mark.parametrize(
    ("keys", "key", "message"),
    [
        ("listen: 9883", "listen", "= 9883: must be HOST:PORT, or :PORT for every interface; did"),
        ("listen:", "listen", 'did you mean ":9883"?'),
        ("listen: ::1:9883", "listen", "an IPv6 address stands in brackets"),
        ("per_client: yes", "per_client", '= "yes": must be true or false'),
        ("per_client: 1", "per_client", "must be true or false"),
        ("max_clients: -1", "max_clients", "must be at least 0"),
        ("max_clients: 1e5", "max_clients", "= 1e5: must be a whole number"),
        ("client_id_pattern: '(?P<a>x){99999999999}'", "client_id_pattern", "is too complex"),
        (f"client_id_pattern: '{'(' * 5000}'", "client_id_pattern", "is too complex"),
        ("client_id_pattern: '(?P<a>x'", "client_id_pattern", "unterminated subpattern at"),
        ("client_id_pattern: '(?P<a>x)*+*'", "client_id_pattern", "at character 11"),
        ("client_id_pattern: '(?<a>x)'", "client_id_pattern", "named group is written (?P<name>"),
        ("client_id_pattern: '.*'", "client_id_pattern", "has no named group, so it has no effect"),
        (
            "client_id_pattern: '(?P<é>x)'",
            "client_id_pattern",
            "not a valid name of a Prometheus label",
        ),
        (
            "client_id_pattern: '(?P<__a>x)'",
            "client_id_pattern",
            "not a valid name of a Prometheus label",
        ),
        (
            "client_id_pattern: '(?P<state>x)'",
            "client_id_pattern",
            "presenced or Prometheus sets that label",
        ),
        (
            "client_id_pattern: '(?P<client_id>x)'",
            "client_id_pattern",
            "presenced or Prometheus sets that label",
        ),
        ("client_id_pattern: 5", "client_id_pattern", "must be text"),
        ("thing_attributes: [a, b, a]", "thing_attributes", "names a more than once"),
        ("thing_attributes: [a b]", "thing_attributes[0]", "is not an attribute name of AWS IoT"),
        ("thing_groups: ['']", "thing_groups[0]", "must not be empty; * matches everything"),
        ("health_listen: 9884", "health_listen", "= 9884: must be HOST:PORT, or :PORT for every"),
        ("health_listen: ''", "health_listen", "must be HOST:PORT, or :PORT for every interface"),
        ("web_config: ''", "web_config", "must not be empty"),
        ("allowed_hosts: [a.example:80]", "allowed_hosts[0]", "alone, *.DOMAIN, or * for any; did"),
        ("allowed_hosts: ['https://a.example/']", "allowed_hosts[0]", "did you mean a.example?"),
        ("allowed_hosts: ['a.*']", "allowed_hosts[0]", "must be a host name alone, *.DOMAIN, or *"),
        ("allowed_hosts: ['']", "allowed_hosts[0]", "must be a host name alone"),
        ("allowed_hosts: a.example", "allowed_hosts", "must be a list"),
    ],
)
def test_bad_values_are_explained(load, keys, key, message):
    problem = load.problem(f"metrics:\n  {keys}\n")
    assert problem.key == f"metrics.{key}"
    assert message in str(problem)


@pytest.mark.parametrize("listen", [":9883", '":9883"', "'[::1]:0'", "localhost:80"])
def test_listen_addresses(load, listen):
    metrics = load(f"metrics:\n  listen: {listen}\n").metrics
    assert metrics.listen == listen.strip("\"'")
    assert metrics.listen_address.port in (9883, 0, 80)


def test_allowed_hosts(load):
    assert load("").metrics.allowed_hosts == ()
    hosts = load("metrics: {allowed_hosts: [a, b.example., '*.svc.cluster.local', '*']}").metrics
    assert hosts.allowed_hosts == ("a", "b.example.", "*.svc.cluster.local", "*")


def test_pattern_is_compiled(load):
    pattern = load("metrics: {client_id_pattern: '(?P<site>[a-z]+)-.*'}").metrics.client_id_pattern
    assert pattern.match("berlin-3")["site"] == "berlin"


def test_health_may_have_a_second_address(load):
    assert load("").metrics.health_address is None
    assert load("metrics: {health_listen: ':9884'}").metrics.health_address == (None, 9884)


@pytest.mark.parametrize("listen", [":9883", "127.0.0.1:9883", "[::]:9883", "0.0.0.0:9883"])
@pytest.mark.parametrize("health", [":9883", "127.0.0.1:9883", "[::]:9883", "0.0.0.0:9883"])
def test_health_needs_an_address_of_its_own(load, listen, health):
    problem = load.problem(f"metrics: {{listen: '{listen}', health_listen: '{health}'}}")
    assert problem.key == "metrics.health_listen"
    assert problem.message == f"uses the address of metrics.listen, {listen}: set another port"


@pytest.mark.parametrize(
    ("listen", "health"),
    [
        ("localhost:0", "localhost:0"),
        (":9883", ":9884"),
        ("127.0.0.1:9883", "127.0.0.2:9883"),
        ("0.0.0.0:9883", "[::1]:9883"),
    ],
)
def test_addresses_that_differ(load, listen, health):
    assert load(f"metrics: {{listen: '{listen}', health_listen: '{health}'}}")
    assert len(load.problems(f"metrics: {{listen: nine, health_listen: '{health}'}}")) == 1


def test_web_config_is_relative_to_the_file(load):
    assert load("metrics: {web_config: web.yml}").metrics.web_config == load.path.parent / "web.yml"
