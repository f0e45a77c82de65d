"""The unit of an installed service on a machine: its state, and events for it."""

import json
import re

from machines import Machine
from waiting import wait_for

UNIT = "presenced.service"
READY = "http://localhost:9883/-/ready"
METRICS = "http://localhost:9883/metrics"


def status(machine: Machine) -> str:
    return machine.show(UNIT, "StatusText")["StatusText"]


def state(machine: Machine, unit: str = UNIT) -> str:
    return machine.show(unit, "ActiveState")["ActiveState"]


def main_pid(machine: Machine, unit: str = UNIT) -> str:
    return machine.show(unit, "MainPID")["MainPID"]


def restarts(machine: Machine) -> int:
    return int(machine.show(UNIT, "NRestarts")["NRestarts"])


def publishing(kind: str, client_id: str, version: int) -> str:
    """The command that publishes a lifecycle event, and returns when the broker has it."""
    payload = json.dumps(
        {"clientId": client_id, "versionNumber": version, "sessionIdentifier": "s"}
    )
    topic = f"$aws/events/presence/{kind}/{client_id}"
    return f"mosquitto_pub -p 1883 -q 1 -t '{topic}' -m '{payload}'"


def publish(machine: Machine, kind: str, client_id: str, version: int) -> None:
    machine.run(publishing(kind, client_id, version))


def wait_until_restarted(machine: Machine, before: int, timeout: float) -> None:
    wait_for(lambda: restarts(machine) == before + 1, timeout, what="a restart")
    wait_for(lambda: state(machine) == "active", what="active again")
    assert machine.get(READY)[0] == 200


def samples(machine: Machine, url: str = METRICS) -> dict[str, float]:
    """What the daemon tells of its fleet, without what it tells of itself."""
    lines = re.findall(r"^(iot_\S+) (\S+)$", machine.get(url)[1], re.MULTILINE)
    return {series: float(value) for series, value in lines}
