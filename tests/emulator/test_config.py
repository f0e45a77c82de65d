from pathlib import Path

import pytest

from presenced.settings import load_settings
from presenced_emulator.certificates import issue
from presenced_emulator.daemon import configuration


@pytest.mark.parametrize("name", ["plain", "with space: #and 'quotes' \"too\""])
def test_the_daemon_accepts_it(tmp_path: Path, name: str) -> None:
    directory = tmp_path / name
    directory.mkdir()
    certificates = issue(directory)
    path = directory / "presenced.yaml"
    path.write_text(configuration(certificates, port=12345, listen=":9884"))

    settings = load_settings(path, environ={})

    assert settings.mqtt.transport == "aiomqtt"
    assert settings.mqtt.protocol == "3.1.1"
    assert (settings.mqtt.endpoint, settings.mqtt.port) == ("localhost", 12345)
    assert settings.mqtt.session_expiry == 0
    assert settings.mqtt.tls is not None
    assert Path(str(settings.mqtt.tls.cert)) == certificates.daemon.cert
    assert Path(str(settings.mqtt.tls.key)) == certificates.daemon.key
    assert Path(str(settings.mqtt.tls.ca)) == certificates.ca
    assert settings.presence.offline_delay == 5
    assert settings.metrics.listen == ":9884"
    assert settings.metrics.thing_attributes == ("site", "model")
