"""How proxies are written, which hosts need none, and what is never shown."""

import os
import subprocess
import sys

import pytest

from presenced.settings import SettingsError, read_aws_proxy, read_mqtt_proxy
from presenced.settings.credential_files import password_problems
from presenced.settings.problems import InvalidValue
from presenced.settings.proxy import Proxy, environment_proxy, is_exempt, refusal


def proxy_of(load, url, more=""):
    return read_mqtt_proxy(load(f"mqtt: {{proxy: '{url}'{more}}}").mqtt)


@pytest.mark.parametrize(
    ("url", "address", "login"),
    [
        ("http://proxy.example:3128", "proxy.example:3128", None),
        ("http://proxy.example:3128/", "proxy.example:3128", None),
        ("http://[::1]:3128", "[::1]:3128", None),
        ("http://u:p@192.0.2.1:80", "192.0.2.1:80", ("u", "p")),
        ("http://u:@proxy:80", "proxy:80", ("u", "")),
        ("http://a%40b:p%3A%2Fq@proxy:80", "proxy:80", ("a@b", "p:/q")),
    ],
)
def test_the_parts_of_a_proxy(load, url, address, login):
    proxy = proxy_of(load, url)
    assert proxy.address == address
    assert (proxy.username, proxy.password) == (login or (None, ""))
    assert bool(proxy.headers) is bool(login)


@pytest.mark.parametrize(
    "url",
    [
        "proxy.example:3128",
        "http://proxy.example",
        "http://proxy.example:99999",
        "http://proxy.example:3128/path",
        "http://proxy.example:3128?q",
        "http://:hunter2@proxy:1",
        "http://u%3Av:hunter2@proxy:1",
        "http://u:hunter/2@proxy:1",
        "http://u:hunter2@:1",
        "http://u:hunter[2@proxy:1",
        "https://u:hunter2@proxy:1",
        "socks5://u:hunter2@proxy:1",
        "",
    ],
)
@pytest.mark.parametrize("section", ["mqtt", "aws"])
def test_other_texts_are_refused_and_not_shown(load, url, section):
    problem = load.problem(f"{section}: {{proxy: '{url}'}}")
    assert problem.key == f"{section}.proxy"
    assert "http://" in problem.message
    assert "hunter" not in str(problem)


def test_a_proxy_is_shown_nowhere(load):
    settings = load("mqtt: {proxy: 'http://u:hunter2@proxy:80'}\naws: {proxy: 'http://u:x1@p:1'}")
    assert "hunter2" not in repr(settings)
    assert "x1" not in repr(settings)
    assert "hunter2" not in repr(read_mqtt_proxy(settings.mqtt))


def test_the_password_of_a_file(load, tmp_path):
    (tmp_path / "password").write_text("hunter2\n")
    proxy = proxy_of(load, "http://u@proxy:80", ", proxy_password_file: password")
    assert proxy.headers == {"Proxy-Authorization": "Basic dTpodW50ZXIy"}


@pytest.mark.parametrize("section", ["mqtt", "aws"])
def test_a_password_file_belongs_to_a_user_name(load, section):
    for url in ("null", "'http://proxy:80'"):
        problem = load.problem(f"{section}: {{proxy: {url}, proxy_password_file: p}}")
        assert problem.key == f"{section}.proxy_password_file"
        assert "needs a user name" in problem.message
    problem = load.problem(f"{section}: {{proxy: 'http://u:p@h:80', proxy_password_file: p}}")
    assert "keep one of them" in problem.message


def test_a_missing_password_file_is_found_by_check(load):
    for section in ("mqtt", "aws"):
        text = f"{section}: {{proxy: 'http://u@h:80', proxy_password_file: nothing}}"
        [problem] = password_problems(load(text))
        assert problem.key == f"{section}.proxy_password_file"
    with pytest.raises(SettingsError, match=r"mqtt\.proxy_password_file"):
        proxy_of(load, "http://u@h:80", ", proxy_password_file: nothing")


def test_a_proxy_needs_tls(load):
    problem = load.problem("mqtt: {tls: false, proxy: 'http://proxy:80'}")
    assert "needs mqtt.tls" in problem.message


def test_requests_to_aws_take_the_proxy_of_mqtt(load):
    def proxy(text):
        settings = load(text)
        found = read_aws_proxy(settings.aws, settings.mqtt)
        return found and (found.address, found.key)

    mqtt = "mqtt: {proxy: 'http://a:1'}\n"
    assert proxy("") is None
    assert proxy(mqtt) == ("a:1", "mqtt.proxy")
    assert proxy(f"{mqtt}aws: {{proxy: 'http://b:2'}}") == ("b:2", "aws.proxy")
    queue = "sqs: {queue_url: 'https://sqs.eu-west-1.amazonaws.com/111122223333/q'}\n"
    assert proxy(f"source: sqs\n{queue}aws: {{proxy: 'http://b:2'}}") == ("b:2", "aws.proxy")


@pytest.mark.parametrize(
    ("listed", "host", "exempt"),
    [
        ("", "broker.example", False),
        ("*", "broker.example", True),
        ("*", "192.0.2.1", True),
        ("broker.example", "broker.example", True),
        ("Broker.Example", "broker.example", True),
        ("example", "broker.example", True),
        (".example", "broker.example", True),
        ("other, .example ", "broker.example", True),
        ("oker.example", "broker.example", False),
        ("broker.example.com", "broker.example", False),
        ("broker.example:8883", "broker.example", True),
        ("broker.example:443", "broker.example", False),
        ("192.0.2.1", "192.0.2.1", True),
        ("2.1", "192.0.2.1", False),
        ("192.0.2.0/24", "192.0.2.1", True),
        ("192.0.2.1/24", "192.0.2.200", True),
        ("192.0.3.0/24", "192.0.2.1", False),
        ("192.0.2.0/24", "broker.example", False),
        ("2001:db8::/32", "2001:db8::1", True),
        ("[2001:db8::1]", "2001:db8::1", True),
        ("192.0.2.0/24", "2001:db8::1", False),
        ("192.0.2.0/99,,x/y", "192.0.2.1", False),
    ],
)
def test_hosts_without_a_proxy(monkeypatch, listed, host, exempt):
    """As curl reads NO_PROXY, and ports as Python does."""
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.setenv("NO_PROXY", listed)
    assert is_exempt(host, 8883) is exempt


def test_the_proxy_of_the_environment(monkeypatch):
    for name in ("https_proxy", "HTTPS_PROXY"):
        monkeypatch.delenv(name, raising=False)
    assert environment_proxy() is None
    for text, address in [
        ("proxy:3128", "proxy:3128"),
        ("http://proxy", "proxy:80"),
        ("https://u:hunter2@proxy", "proxy:443"),
    ]:
        monkeypatch.setenv("HTTPS_PROXY", text)
        assert environment_proxy().address == address
        assert environment_proxy().key == "HTTPS_PROXY"
    for text in ("socks5://u:hunter2@proxy:1", "http://u:hunter2@proxy:x", "http://"):
        monkeypatch.setenv("HTTPS_PROXY", text)
        with pytest.raises(InvalidValue) as caught:
            environment_proxy()
        assert "hunter2" not in str(caught.value)


ON_MACOS = """
import sys, types
sys.modules["_scproxy"] = types.SimpleNamespace(
    _get_proxies=lambda: {"https": "http://system:3128"},
    _get_proxy_settings=lambda: {"exclude_simple": True, "exceptions": ["192.0.2.1"]},
)
own, sys.platform = sys.platform, "darwin"
import urllib.request
sys.platform = own
assert urllib.request.getproxies() == {"https": "http://system:3128"}
assert urllib.request.proxy_bypass("broker")

from presenced.settings.proxy import environment_proxy, is_exempt
print(environment_proxy(), is_exempt("broker", 8883), is_exempt("192.0.2.1", 8883))
"""


def test_a_proxy_in_the_settings_of_macos_is_not_used():
    """The documentation promises HTTPS_PROXY and NO_PROXY alone."""
    named = ("https_proxy", "no_proxy")
    clean = {name: value for name, value in os.environ.items() if name.lower() not in named}
    found = subprocess.run(
        [sys.executable, "-c", ON_MACOS], env=clean, capture_output=True, text=True, check=True
    )
    assert found.stdout.split() == ["None", "False", "False"]


@pytest.mark.parametrize(
    ("status", "kind"),
    [(407, "authentication"), (401, "authentication"), (403, "forbidden"), (405, "forbidden")]
    + [(status, "unreachable") for status in (500, 502, 503, 504)],
)
def test_what_a_refusal_means(status, kind):
    found = refusal(Proxy("proxy", 3128, "mqtt.proxy"), status, "broker.example:8883")
    assert found.kind == kind
    assert f"(HTTP status {status})" in found.detail
    assert found.remedy
