"""The two units: one text, but for what belongs to one fleet."""

from pathlib import Path

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
