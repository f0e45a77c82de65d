"""The Debian package: built as documented, installed by apt, upgraded, removed and purged.

Runs before the other tests, which install by `make install`: what it leaves behind would be theirs.
"""

from collections.abc import Iterator

import pytest

from documentation import blocks
from installations import CLONE, SETTINGS, SOURCE, files, in_clone
from machines import Machine
from presenced import __version__
from waiting import wait_for

BUILD, INSTALL, START, REMOVE = blocks("docs/how-to/install-the-debian-package.md", "sh")
OTHER = "/srv/elsewhere"


def package(machine: Machine) -> str:
    return machine.run(f"ls {CLONE}/dist/presenced_{__version__}_*.deb")


def upgrade(machine: Machine) -> None:
    """Install the unpacked package as one version newer than the last."""
    machine.run(
        "sed -i 's/^Version: .*/&+1/' /tmp/newer/DEBIAN/control; "
        "dpkg-deb --root-owner-group --build /tmp/newer /tmp/newer.deb; "
        "apt-get install --yes --no-install-recommends /tmp/newer.deb"
    )


@pytest.fixture(scope="module")
def built(bare: Machine, files_before: set[str]) -> Iterator[Machine]:
    bare.run(in_clone(BUILD))
    yield bare
    bare.try_run("apt-get purge --yes presenced; systemctl stop mosquitto")
    bare.run(f"rm -rf {OTHER} {CLONE}/build {CLONE}/dist /tmp/newer*")


def test_two_builds_are_the_same_bytes(built: Machine) -> None:
    built.run(f"cp -r {SOURCE} {OTHER}")
    built.run(in_clone(BUILD).replace(f"cd {CLONE}", f"cd {OTHER}; umask 027"))
    name = package(built).rpartition("/")[2]
    built.run(f"cmp {CLONE}/dist/{name} {OTHER}/dist/{name}")


def test_apt_installs_it(built: Machine) -> None:
    # The machine has no network, so nothing that is only recommended can be had.
    offline = INSTALL.replace("apt install", "apt-get install --yes --no-install-recommends")
    built.run(in_clone(offline))
    assert built.run("presenced --version") == f"presenced {__version__}"
    assert built.try_run("systemctl is-enabled presenced").stdout.strip() == "disabled"
    assert "mqtt:" in built.run("cat /etc/presenced/presenced.yaml.example")
    built.run("dpkg --verify presenced")


def test_the_service_runs_under_a_user_of_its_own(built: Machine) -> None:
    built.run("systemctl start mosquitto")
    built.write("/etc/presenced/presenced.yaml", SETTINGS)
    assert "iot_clients{" in built.run(START)
    wait_for(lambda: built.get("http://localhost:9883/-/ready")[0] == 200, what="readiness")
    process = built.show("presenced", "MainPID")["MainPID"]
    user = int(built.run(f"ps -o uid= -p {process}"))
    assert 61184 <= user <= 65519, "not a dynamic user of systemd"


def test_an_upgrade_restarts_what_runs_and_keeps_the_configuration(built: Machine) -> None:
    before = built.show("presenced", "MainPID")["MainPID"]
    built.write("/etc/presenced/presenced.yaml.example", "# mine\n")
    built.run(f"dpkg-deb -R {package(built)} /tmp/newer")
    upgrade(built)
    wait_for(
        lambda: built.show("presenced", "MainPID")["MainPID"] not in (before, "0"), what="a restart"
    )
    wait_for(lambda: built.get("http://localhost:9883/-/ready")[0] == 200, what="readiness")
    assert built.run("cat /etc/presenced/presenced.yaml.example") == "# mine"


def test_a_configuration_that_is_refused_fails_no_upgrade(built: Machine) -> None:
    built.write("/etc/presenced/presenced.yaml", "no_such_key: 1\n")
    upgrade(built)
    assert (
        built.run("dpkg-query --show --showformat='${db:Status-Status}' presenced") == "installed"
    )
    wait_for(lambda: built.show("presenced", "Result")["Result"] == "exit-code", what="a refusal")
    built.write("/etc/presenced/presenced.yaml", SETTINGS)
    built.run("systemctl restart presenced")


def test_removed_it_keeps_configuration_and_state(built: Machine) -> None:
    built.run(REMOVE.splitlines()[0].replace("apt ", "apt-get --yes "))
    assert built.get("http://localhost:9883/-/healthy")[0] == 0
    built.run("test -e /etc/presenced/presenced.yaml -a -e /var/lib/presenced/presenced.db")


def test_purged_it_leaves_only_what_the_user_wrote(built: Machine, files_before: set[str]) -> None:
    built.run(REMOVE.splitlines()[1].replace("apt ", "apt-get --yes "))
    assert files(built) - files_before == set()
    assert built.run("ls -d /var/lib/presenced* /var/lib/private/presenced* || true") == ""
