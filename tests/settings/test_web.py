"""The web configuration file: what it may hold, and how anything else is reported."""

import re
from pathlib import Path
from textwrap import dedent

import pytest

from presenced.settings import SettingsError
from presenced.settings.web import KEYS, WebConfig, read_web_config

HASH = "$2y$10$X0h1gDsPszWURQaxFh.zoubFi6DXncSjhoQNJgRrnGs7EsimhC7zG"
# The sample file of the exporter toolkit, and what its page documents, taken together.
EVERYTHING = f"""\
tls_server_config:
  cert_file: server.crt
  key_file: /keys/server.key
  client_auth_type: RequireAndVerifyClientCert
  client_ca_file: ca.pem
  client_allowed_sans: [prometheus.example.org, 192.0.2.1]
  min_version: TLS12
  max_version: TLS13
  cipher_suites: [TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256]
  prefer_server_cipher_suites: false
  curve_preferences: [CurveP256]
http_server_config:
  http2: true
  headers:
    Content-Security-Policy: default-src 'none'
    X-Frame-Options: deny
    X-Content-Type-Options: nosniff
    X-XSS-Protection: 0
    Strict-Transport-Security: max-age=60
basic_auth_users:
  alice: {HASH}
rate_limit:
  interval: 1s
  burst: 20
"""
PAIR = "cert_file: c, key_file: k"


@pytest.fixture
def read(tmp_path):
    def read_text(text):
        path = tmp_path / "web.yml"
        path.write_text(dedent(text))
        return read_web_config(path)

    return read_text


def problems(read, text):
    with pytest.raises(SettingsError) as caught:
        read(text)
    return caught.value.problems


def test_everything(read, tmp_path):
    config = read(EVERYTHING)
    tls = config.tls_server_config
    assert tls.cert_file == tmp_path / "server.crt"
    assert tls.key_file == Path("/keys/server.key")
    assert tls.client_ca_file == tmp_path / "ca.pem"
    assert tls.client_auth_type == "RequireAndVerifyClientCert"
    assert not tls.prefer_server_cipher_suites
    assert config.http_server_config.headers == {
        "Content-Security-Policy": "default-src 'none'",
        "X-Frame-Options": "deny",
        "X-Content-Type-Options": "nosniff",
        "X-XSS-Protection": "0",
        "Strict-Transport-Security": "max-age=60",
    }
    assert config.basic_auth_users["alice"].get_secret_value() == HASH
    assert (config.rate_limit.interval, config.rate_limit.burst) == (1, 20)


@pytest.mark.parametrize(
    "text",
    ["", "tls_server_config:", "http_server_config:\nrate_limit:\nbasic_auth_users:\n", "{}"],
)
def test_empty_files_and_sections_protect_nothing(read, text):
    assert read(text) == WebConfig()


def test_an_empty_header_stands_for_none(read):
    config = read('http_server_config: {headers: {X-Frame-Options: "", X-XSS-Protection: ""}}')
    assert config.http_server_config.headers == {}


def test_defaults_of_tls(read):
    tls = read(f"tls_server_config: {{{PAIR}}}").tls_server_config
    assert (tls.min_version, tls.max_version) == ("TLS12", "TLS13")
    assert tls.client_auth_type == "NoClientCert"
    assert tls.prefer_server_cipher_suites


@pytest.mark.parametrize(
    ("keys", "key", "message"),
    [
        ("cert_file: c", "", "lacks key_file; leave tls_server_config out"),
        ("key_file: k", "", "lacks cert_file"),
        ("", "", "lacks cert_file"),
        ("min_version: TLS13", "", "lacks cert_file"),
        (f"{PAIR}, cert: x", "", "has both cert and cert_file"),
        (f"{PAIR}, key: x", "", "has both key and key_file"),
        (f"{PAIR}, client_ca_file: a", "", "set client_auth_type: RequireAndVerifyClientCert"),
        (f"{PAIR}, client_auth_type: VerifyClientCertIfGiven", "", "which needs client_ca_file"),
        (
            f"{PAIR}, client_auth_type: VerifyClientCertIfGiven, client_ca: a, client_ca_file: a",
            "",
            "has both client_ca and client_ca_file",
        ),
        (
            f"{PAIR}, client_auth_type: RequireAnyClientCert",
            ".client_auth_type",
            "anyone can create; use RequireAndVerifyClientCert with client_ca_file",
        ),
        (
            f"{PAIR}, client_auth_type: RequestClientCert",
            ".client_auth_type",
            "use VerifyClientCertIfGiven with client_ca_file",
        ),
        (
            f"{PAIR}, client_auth_type: requireandverifyclientcerts",
            ".client_auth_type",
            "must be NoClientCert, VerifyClientCertIfGiven or RequireAndVerifyClientCert",
        ),
        (f"{PAIR}, client_allowed_sans: [a]", "", "has client_allowed_sans, which needs client_a"),
        (f"{PAIR}, min_version: TLS9", ".min_version", "must be TLS10, TLS11, TLS12 or TLS13"),
        (
            f"{PAIR}, min_version: TLS13, max_version: TLS12",
            "",
            "TLS12, below its min_version, TLS13",
        ),
        (f"{PAIR}, cipher_suites: [X]", ".cipher_suites[0]", "supported are TLS_ECDHE"),
        (
            f"{PAIR}, cipher_suites: [TLS_ECDHE_RSA_WITH_AES_128_GCM]",
            ".cipher_suites[0]",
            "did you mean TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256?",
        ),
        (
            f"{PAIR}, cipher_suites: [TLS_AES_128_GCM_SHA256]",
            ".cipher_suites[0]",
            "is of TLS 1.3, whose suites cannot be chosen: leave it out",
        ),
        (
            f"{PAIR}, min_version: TLS13, cipher_suites: [TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA]",
            "",
            "has cipher_suites, which have no effect on TLS 1.3 alone",
        ),
        (f"{PAIR}, curve_preferences: [P256]", ".curve_preferences[0]", "did you mean CurveP256?"),
        (f"{PAIR}, curve_preferences: [X25519, CurveP256]", ".curve_preferences", "one curve only"),
        (f"{PAIR}, client_ca_files: a", ".client_ca_files", "tls_server_config.client_ca_file?"),
        (f"{PAIR}, certificate: a", ".certificate", "did you mean tls_server_config.cert_file?"),
    ],
)
def test_bad_tls_is_explained(read, tmp_path, keys, key, message):
    (problem,) = problems(read, f"\ntls_server_config: {{{keys}}}")
    assert problem.key == f"tls_server_config{key}"
    assert problem.origin == f"{tmp_path / 'web.yml'}:2"
    assert message in str(problem)


@pytest.mark.parametrize(
    ("text", "key", "message"),
    [
        ("basic_auth: {}", "basic_auth", "did you mean basic_auth_users?"),
        ("basic_auth_users: {a: hunter2}", "basic_auth_users.a", "is not a bcrypt hash"),
        (f"basic_auth_users: {{a: {HASH}x}}", "basic_auth_users.a", "is not a bcrypt hash"),
        ("basic_auth_users: {a: 5}", "basic_auth_users.a", "must be text"),
        (
            f"basic_auth_users: {{'a:b': {HASH}}}",
            "basic_auth_users",
            "a name must not contain colons",
        ),
        (f'basic_auth_users: {{"a\\n": {HASH}}}', "basic_auth_users", "or control characters"),
        (
            f"basic_auth_users: {{a: {HASH.replace('$10$', '$15$')}}}",
            "basic_auth_users.a",
            "has the cost 15: it must be from 4 to 14",
        ),
        (
            f"basic_auth_users: {{a: {HASH.replace('$10$', '$03$')}}}",
            "basic_auth_users.a",
            "has the cost 3",
        ),
        ("http_server_config: {http2: maybe}", "http_server_config.http2", "must be true or false"),
        (
            "http_server_config: {headers: {X-Frame-Option: deny}}",
            "http_server_config.headers.X-Frame-Option",
            "did you mean X-Frame-Options?",
        ),
        (
            "http_server_config: {headers: {Server: x}}",
            "http_server_config.headers.Server",
            "is not a supported header; supported are Strict-Transport-Security, X-Content-Type",
        ),
        (
            "http_server_config: {headers: {X-Frame-Options: DENY}}",
            "http_server_config.headers",
            "which must be deny or sameorigin",
        ),
        (
            'http_server_config: {headers: {X-XSS-Protection: "0\\r\\nSet-Cookie: x"}}',
            "http_server_config.headers",
            "must be printable ASCII on one line",
        ),
        ("rate_limit: {interval: 1s}", "rate_limit", "an interval but no burst"),
        ("rate_limit: {interval: 1, burst: 1}", "rate_limit.interval", "has no unit: write 1s"),
        ("rate_limit: {burst: -1}", "rate_limit.burst", "must be at least 0"),
        ("rate_limits: {}", "rate_limits", "did you mean rate_limit?"),
        ("[]", "", "must contain a mapping with the keys tls_server_config, http_server_config"),
    ],
)
def test_bad_values_are_explained(read, text, key, message):
    (problem,) = problems(read, text)
    assert problem.key == key
    assert message in str(problem)


@pytest.mark.parametrize(
    "text",
    [
        "basic_auth_users: {a: hunter2}",
        "basic_auth_users: {a: [hunter2]}",
        "basic_auth_users: hunter2",
        "basic_auth_user: {a: hunter2}",
        "tls_server_config: {cert: c, key: hunter2, max_version: TLS1}",
        "tls_server_config: {key: hunter2}",
        "tls_server_config: {cert: c, key: [hunter2]}",
        "tls_server_config: {cert: c, kye: hunter2}",
    ],
)
def test_secrets_are_never_shown(read, text):
    found = problems(read, text)
    assert "hunter2" not in "".join(str(problem) + repr(problem) for problem in found)


def test_secrets_are_not_in_representations(read):
    config = read(f"tls_server_config: {{cert: c, key: hunter2}}\nbasic_auth_users: {{a: {HASH}}}")
    assert "hunter2" not in repr(config)
    assert HASH not in repr(config)


def test_all_problems_are_reported_at_once(read):
    found = problems(read, "tls_server_config: {cert_fil: a}\nrate_limit: {burst: x}\nx: 1\n")
    assert {problem.key for problem in found} >= {
        "tls_server_config.cert_fil",
        "rate_limit.burst",
        "x",
    }


def test_a_file_that_cannot_be_read_is_reported_with_the_key_that_names_it(tmp_path):
    with pytest.raises(SettingsError) as caught:
        read_web_config(tmp_path / "nothing.yml")
    (problem,) = caught.value.problems
    assert (problem.key, problem.kind) == ("metrics.web_config", "missing")
    assert "nothing.yml" in str(problem)


def test_the_web_configuration_of_the_documentation(read):
    page = (Path(__file__).parents[2] / "docs/how-to/secure-the-listener.md").read_text()
    (text,) = re.findall(r"```yaml\n(tls_server_config:.*?)```", page, re.DOTALL)
    config = read(text)
    assert config.tls_server_config.cert_file.name == "tls.crt"
    assert list(config.basic_auth_users) == ["prometheus"]


def test_the_reference_names_every_key():
    text = (Path(__file__).parents[2] / "docs" / "reference" / "web-configuration.md").read_text()
    words = set(re.findall(r"\w+", text))
    assert [key for key in KEYS if key.rpartition(".")[2] not in words] == []
