"""`mqtt.tls.pkcs11`: a key in hardware, and what does not go with it."""

from pathlib import Path

import pytest

from presenced.settings.credential_files import password_problems

HERE = "library: /lib/hsm.so, token: t, key: k"


def text(pkcs11, *, tls="", mqtt="", rest=""):
    return f"mqtt: {{endpoint: h, tls: {{pkcs11: {{{pkcs11}}}{tls}}}{mqtt}}}\n{rest}"


def test_the_key_is_no_file(load):
    tls = load(text(HERE)).mqtt.tls
    assert (tls.key, tls.cert.name) == (None, "certificate.pem.crt")
    assert (tls.pkcs11.library, tls.pkcs11.token) == (Path("/lib/hsm.so"), "t")
    assert load(text(HERE, tls=", key: null")).mqtt.tls.key is None


@pytest.mark.parametrize(
    ("config", "key", "message"),
    [
        (text(HERE, tls=", key: k.pem"), "mqtt.tls.key", "must be null with mqtt.tls.pkcs11"),
        (text(HERE, tls=", cert: null"), "mqtt.tls.cert", "must be the certificate of the key"),
        (text("token: t"), "mqtt.tls.pkcs11.token", "has no effect without mqtt.tls.pkcs11"),
        (text('library: x, key: ""'), "mqtt.tls.pkcs11.key", "must not be empty"),
        (text("libary: x"), "mqtt.tls.pkcs11.libary", "did you mean mqtt.tls.pkcs11.library?"),
        (
            text(HERE, mqtt=", transport: aiomqtt"),
            "mqtt.tls.pkcs11.library",
            "needs mqtt.transport",
        ),
        (text(HERE, mqtt=", auth: sigv4"), "mqtt.tls.cert", "must be the certificate of the key"),
        (
            text(
                HERE,
                rest="aws: {region: eu-west-1, role_alias: a, thing_name: t,"
                " credentials_endpoint: x.credentials.iot.eu-west-1.amazonaws.com}",
            ),
            "aws.role_alias",
            "cannot use a key in hardware",
        ),
    ],
)
def test_what_does_not_go_with_it_is_explained(load, config, key, message):
    problem = load.problem(config)
    assert problem.key == key
    assert message in str(problem)


def test_library_and_pin_are_files(load, tmp_path):
    (tmp_path / "pin").write_text("")
    problems = password_problems(load(text("library: hsm.so, pin_file: pin")))
    assert [(p.key.rpartition(".")[2], p.message) for p in problems] == [
        ("library", "no such file"),
        ("pin_file", "is empty or not UTF-8 text: it must contain the PIN"),
    ]
    (tmp_path / "pin").write_text("1234\n")
    (tmp_path / "hsm.so").touch()
    assert password_problems(load(text("library: hsm.so, pin_file: pin"))) == []
