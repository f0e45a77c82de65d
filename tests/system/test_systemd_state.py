"""Presence outlives restarts, crashes and reboots of the machine."""

import pytest

from installations import SETTINGS
from machines import Machine
from units import (
    READY,
    UNIT,
    main_pid,
    publish,
    publishing,
    restarts,
    samples,
    state,
    wait_until_restarted,
)
from waiting import wait_for

FILE = "/var/lib/presenced/presenced.db"
REAL_FILE = "/var/lib/private/presenced/presenced.db"
DROP_IN = "/etc/systemd/system/mosquitto.service.d/meanwhile.conf"
# What happens at the broker before presenced is there again.
MEANWHILE = """\
[Unit]
Before=presenced.service
[Service]
ExecStartPost=sh /srv/meanwhile
"""


@pytest.fixture(scope="module")
def at_once(installed: Machine) -> Machine:
    """The machine with presenced ready and without an offline delay."""
    installed.write("/etc/presenced/presenced.yaml", SETTINGS + "presence: {offline_delay: 0s}\n")
    installed.run(f"systemctl start mosquitto; systemctl restart {UNIT}")
    return installed


def connect(machine: Machine, *client_ids: str) -> None:
    for client_id in client_ids:
        publish(machine, "connected", client_id, 1)
    wait_for(lambda: all(connected(machine, name) for name in client_ids), what="clients online")


def connected(machine: Machine, client_id: str) -> float | None:
    return samples(machine).get(f'iot_client_connected{{client_id="{client_id}"}}')


def changes(machine: Machine, before: dict[str, float]) -> dict[str, float]:
    """By how much presence and totals differ from what they were."""
    after = samples(machine)
    differences = {name: after.get(name, 0) - before.get(name, 0) for name in before | after}
    told = ("iot_client_connected{", "iot_client_transitions_total{", "iot_clients")
    return {name: by for name, by in differences.items() if by and name.startswith(told)}


def show(machine: Machine, file: str, *words: str) -> str:
    return machine.run(f"presenced state show --file {file} {' '.join(words)}")


def test_a_restart_changes_nothing(at_once: Machine) -> None:
    connect(at_once, "restart-1", "restart-2")
    before = samples(at_once)
    at_once.run(f"systemctl restart {UNIT}")
    assert samples(at_once) == before


def test_killed_it_knows_what_it_knew_and_learns_what_it_missed(at_once: Machine) -> None:
    connect(at_once, "kill-stays", "kill-leaves")
    before, count = samples(at_once), restarts(at_once)
    at_once.run(f"systemctl kill --signal=KILL {UNIT}")
    publish(at_once, "disconnected", "kill-leaves", 1)
    publish(at_once, "connected", "kill-comes", 1)
    assert at_once.show(UNIT, "SubState") == {"SubState": "auto-restart"}
    wait_until_restarted(at_once, count, timeout=20)
    assert changes(at_once, before) == {
        'iot_client_connected{client_id="kill-leaves"}': -1,
        'iot_client_connected{client_id="kill-comes"}': 1,
        'iot_client_transitions_total{to="offline"}': 1,
        'iot_client_transitions_total{to="online"}': 1,
        'iot_clients{state="offline"}': 1,
    }


def test_a_reboot_of_the_machine(at_once: Machine) -> None:
    connect(at_once, "boot-stays", "boot-leaves")
    at_once.write("/srv/meanwhile", publishing("disconnected", "boot-leaves", 1))
    at_once.write(DROP_IN, MEANWHILE)
    at_once.run(f"systemctl enable mosquitto {UNIT}")
    before = samples(at_once)
    at_once.reboot()
    wait_for(lambda: state(at_once) == "active", what="active after the boot")
    assert changes(at_once, before) == {
        'iot_client_connected{client_id="boot-leaves"}': -1,
        'iot_client_transitions_total{to="offline"}': 1,
        'iot_clients{state="online"}': -1,
        'iot_clients{state="offline"}': 1,
    }
    at_once.run(f"rm -r $(dirname {DROP_IN}); systemctl daemon-reload")


def test_root_looks_into_the_file_of_the_running_service(at_once: Machine) -> None:
    connect(at_once, "shown")
    for file in (FILE, REAL_FILE):
        assert "online" in show(at_once, file, "shown")
        assert f"in use by process {main_pid(at_once)}\n" in show(at_once, file)


def test_what_root_does_to_the_file_does_not_keep_the_service_out(at_once: Machine) -> None:
    connect(at_once, "forgotten", "kept")
    at_once.run(f"systemctl stop {UNIT}")
    assert "not in use" in show(at_once, FILE)
    at_once.run(f"presenced state forget --file {FILE} forgotten")
    at_once.run(f"systemctl start {UNIT}")
    assert (connected(at_once, "forgotten"), connected(at_once, "kept")) == (None, 1)
    publish(at_once, "disconnected", "kept", 1)
    wait_for(lambda: "offline" in show(at_once, FILE, "kept"), what="the service writes the file")


def test_another_fleet_beside_it_has_a_file_of_its_own(at_once: Machine) -> None:
    at_once.write(
        "/etc/presenced/second.yaml",
        f"{SETTINGS}  client_id: second\nmetrics: {{listen: ':9884'}}\n",
    )
    at_once.run("systemctl start presenced@second")
    assert at_once.get("http://localhost:9884/-/ready")[0] == 200
    assert at_once.get(READY)[0] == 200
    publish(at_once, "connected", "of-both", 1)
    for unit, directory in ((UNIT, "presenced"), ("presenced@second", "presenced-second")):
        file = f"/var/lib/{directory}/presenced.db"
        wait_for(
            lambda file=file: "of-both" in at_once.run(f"presenced state export --file {file}"),
            what=f"the client in {file}",
        )
        assert f"in use by process {main_pid(at_once, unit)}\n" in show(at_once, file)
    at_once.run("systemctl stop presenced@second")
