"""One machine for all tests, installed as in docs/how-to/run-with-systemd.md, with a mosquitto."""

from collections.abc import Iterator

import pytest

import machines
from certificates import Certificates
from debian import call, make_tree, make_wheels
from installations import (
    CLONE,
    PACKAGES,
    SETTINGS,
    SOURCE,
    WHEELS,
    WORK,
    configure,
    copy_clone,
    documented_blocks,
    files,
    in_clone,
)
from machines import Machine
from waiting import wait_for


@pytest.fixture(scope="session")
def bare(certificates: Certificates, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """A machine with certificates and configuration, a stopped mosquitto, and no presenced yet."""
    machines.need_root_and_tools()
    tree = make_tree(WORK, PACKAGES)
    python = call("chroot", str(tree), "python3", "--version").split()[1]
    clone = copy_clone(tmp_path_factory.mktemp("clone"))
    machine = Machine(
        tree, tmp_path_factory.mktemp("machine"), {clone: SOURCE, make_wheels(WORK, python): WHEELS}
    )
    try:
        machine.boot()
        machine.run(f"cp -r {SOURCE} {CLONE}; systemctl stop mosquitto")
        configure(machine, certificates)
        yield machine
    finally:
        machine.stop()


@pytest.fixture(scope="session")
def files_before(bare: Machine) -> set[str]:
    return files(bare)


@pytest.fixture(scope="session")
def installed(bare: Machine, files_before: set[str]) -> Machine:
    """The machine with presenced as the documentation installs it.

    One instance, which never finds a broker, is left alone until the last test looks at it.
    """
    bare.run(in_clone(documented_blocks("sh")[0]))
    bare.run("systemctl start --no-block presenced@late")
    return bare


@pytest.fixture
def running(installed: Machine) -> Machine:
    """The machine with presenced ready."""
    installed.write("/etc/presenced/presenced.yaml", SETTINGS)
    installed.run("systemctl start mosquitto presenced")
    wait_for(lambda: installed.get("http://localhost:9883/-/ready")[0] == 200, what="readiness")
    return installed
