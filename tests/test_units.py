"""The units: one text, but for what belongs to one fleet, or to a worker."""

import shutil
import subprocess
from pathlib import Path

from brokers import missing
from presenced.settings import load_settings

UNITS = Path(__file__).parents[1] / "systemd"
OF_ONE_FLEET = (
    ("of an AWS IoT Core fleet", "of the AWS IoT Core fleet %i"),
    ("/etc/presenced/presenced.yaml", "/etc/presenced/%i.yaml"),
    ("/etc/presenced/certs/", "/etc/presenced/certs/%i/"),
    ("StateDirectory=presenced", "StateDirectory=presenced-%i"),
)


def test_the_template_is_the_unit_with_an_instance() -> None:
    expected = (UNITS / "presenced.service").read_text()
    for alone, instance in OF_ONE_FLEET:
        assert alone in expected
        expected = expected.replace(alone, instance)
    assert (UNITS / "presenced@.service").read_text() == expected


def test_the_copies_that_systemd_makes_are_those_that_the_daemon_reads() -> None:
    lines = (UNITS / "presenced.service").read_text().splitlines()
    loaded = [line.split("=")[1].split(":")[0] for line in lines if "LoadCredential=" in line]
    named = [line.split("=%d/")[1] for line in lines if line.startswith("Environment=PRESENCED_")]
    assert loaded == named


def lines(unit: str) -> list[str]:
    """What a unit sets, without comments."""
    text = (UNITS / unit).read_text()
    return [line for line in text.splitlines() if line and not line.startswith("#")]


def test_a_worker_is_the_unit_without_certificates_and_state() -> None:
    alone, worker = lines("presenced.service"), lines("presenced-worker@.service")
    left_out = ("LoadCredential=", "Environment=", "StateDirectory")
    expected = [line for line in alone if not line.startswith(left_out)]
    own = [line for line in worker if line.startswith("Environment")]
    assert own == [
        "Environment=PRESENCED_KAFKA__INSTANCE_ID=%H-%i",
        "EnvironmentFile=-/etc/presenced/worker-%i.env",
    ]
    rest = [line for line in worker if line not in own]
    differing = [pair for pair in zip(expected, rest, strict=True) if pair[0] != pair[1]]
    assert [one.partition("=")[0] for one, _ in differing] == ["Description", "ExecStart"]
    assert differing[1][1].endswith(" run --config /etc/presenced/workers.yaml")


def test_the_name_of_a_worker_is_one_that_kafka_accepts() -> None:
    (name,) = (
        line.rpartition("=")[2]
        for line in lines("presenced-worker@.service")
        if "INSTANCE_ID" in line
    )
    environ = {"PRESENCED_KAFKA__INSTANCE_ID": name.replace("%H", "vm-1.eu").replace("%i", "1")}
    kafka = load_settings(None, environ=environ, require_endpoint=False).kafka
    assert kafka.instance_id == "vm-1.eu-1"


def test_the_drop_in_for_keys_in_hardware_is_valid(tmp_path: Path) -> None:
    """With what it changes the unit passes systemd's own check, and no key file is named."""
    if not shutil.which("systemd-analyze"):
        missing("systemd-analyze is not installed: apt-get install systemd")
    unit = tmp_path / "presenced.service"
    text = (UNITS / unit.name).read_text()
    unit.write_text(text.replace("/usr/local/bin/presenced", "/bin/true"))
    drop_in = tmp_path / "presenced.service.d" / "hardware-key.conf"
    drop_in.parent.mkdir()
    drop_in.write_text((UNITS / drop_in.name).read_text())

    def verified() -> str:
        command = ["systemd-analyze", "verify", "--man=no", str(unit)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
        return "".join(line for line in done.stderr.splitlines(True) if "presenced" in line)

    assert verified() == ""
    loaded = [line for line in lines("hardware-key.conf") if "LoadCredential=" in line]
    assert loaded[0] == "LoadCredential="
    assert not [line for line in loaded if "private.pem.key" in line]
    drop_in.write_text(drop_in.read_text().replace("DeviceAllow=", "DevicesAllow="))
    assert "DevicesAllow" in verified()


def test_make_installs_each_unit() -> None:
    makefile = (UNITS.parent / "Makefile").read_text()
    (named,) = [line for line in makefile.splitlines() if line.startswith("UNITS = ")]
    assert set(named.split()[2:]) == {file.name for file in UNITS.glob("*.service")}
