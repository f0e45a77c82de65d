"""A fleet whose registry changes in many ways: writes tests/recordings/registry.jsonl.

`python tests/registry_recording.py > tests/recordings/registry.jsonl`, with the package installed.
"""

import sys

from presenced_emulator.lifecycle import DisconnectReason
from presenced_emulator.registry import ARN
from recorded_fleet import RecordedFleet

__all__ = ["record"]

SEED = 7
START = 1_760_000_000.0
MINUTE = 60.0

HALLS = {"hall-1": "north", "hall-2": "north", "hall-3": "south"}
FLEET = {
    "sensor-1": ("sensor", "hall-1"),
    "sensor-2": ("sensor", "hall-1"),
    "sensor-3": ("sensor", "hall-2"),
    "sensor-4": ("sensor", "hall-3"),
    "gateway-5": ("gateway", "hall-2"),
    "gateway-6": ("gateway", "hall-3"),
    "plant-pump-7": ("actuator", "hall-1"),
    "plant-pump-8": ("actuator", "hall-3"),
    "camera-9": ("legacy", "hall-2"),
    "spare-10": ("sensor", "hall-3"),
    "sensor-12": ("sensor", "hall-1"),
}


def record() -> RecordedFleet:
    """Record all of it; no client is pending when the offline delay of the last ones is over."""
    fleet = RecordedFleet(SEED, START)
    found(fleet)
    connect(fleet)
    move(fleet)
    retire_a_type(fleet)
    delete(fleet)
    move_a_hall(fleet)
    work(fleet)
    fleet.disconnect("gateway-5")
    fleet.disconnect("plant/pump-7", DisconnectReason.SERVER_INITIATED_DISCONNECT)
    return fleet


def found(fleet: RecordedFleet) -> None:
    """Create types, groups and things; some events arrive after others that depend on them."""
    registry = fleet.registry
    for kind in ("sensor", "gateway", "actuator", "legacy"):
        fleet.tell(registry.create_type(kind, fleet.now, searchable=("site",)), late=20)
    fleet.tell(registry.create_group("plants", fleet.now, attributes={}))
    for site in ("north", "south"):
        attributes = {"site": site}
        fleet.tell(registry.create_group(site, fleet.now, parent="plants", attributes=attributes))
    for hall, site in HALLS.items():
        late = 30 if hall == "hall-2" else 0
        created = registry.create_group(hall, fleet.now, parent=site, attributes={"site": site})
        fleet.tell(created, late=late, again=45)
    fleet.tell(registry.create_group("watched", fleet.now, attributes={}))
    fleet.tell(registry.create_group("annex", fleet.now, parent="south", attributes={}))
    fleet.wait(5)
    for name, (kind, hall) in FLEET.items():
        late = 25 if name in ("sensor-3", "spare-10") else 0
        attributes = {"site": HALLS[hall], "model": f"{kind[0]}1"}
        fleet.tell(
            registry.create_thing(name, fleet.now, thing_type=kind, attributes=attributes),
            late=late,
        )
        fleet.tell(registry.regroup(name, fleet.now, into=hall), again=40)
        fleet.wait(0.2)
    fleet.tell(registry.create_thing("bare-11", fleet.now, attributes={}))
    for name in ("sensor-1", "gateway-6"):
        fleet.tell(registry.regroup(name, fleet.now, into="watched"))
    for number in (7, 8):
        registry.attach(f"plant/pump-{number}", f"plant-pump-{number}")
    registry.attach("plant/pump-7/backup", "plant-pump-7")
    fleet.wait(MINUTE)


def connect(fleet: RecordedFleet) -> None:
    """Let devices connect, flap and be taken over; one connected before the recording begins."""
    fleet.missing.add("sensor-4")
    for client_id in ("sensor-1", "sensor-2", "sensor-3", "sensor-4", "gateway-5", "gateway-6"):
        fleet.connect(client_id)
        fleet.wait(0.5)
    for client_id in ("plant/pump-7", "plant/pump-7/backup", "camera-9", "sensor-12", "visitor"):
        fleet.connect(client_id)
        fleet.wait(0.5)
    fleet.wait(MINUTE)
    fleet.disconnect("sensor-3")
    fleet.wait(2)
    fleet.connect("sensor-3")
    fleet.connect("gateway-5")  # takes over
    fleet.disconnect("plant/pump-7/backup", DisconnectReason.CLIENT_INITIATED_DISCONNECT)
    fleet.disconnect("gateway-6", DisconnectReason.MQTT_KEEP_ALIVE_TIMEOUT)
    fleet.refuse("stranger")
    fleet.wait(MINUTE)


def move(fleet: RecordedFleet) -> None:
    """Move and change things; the event of the older of two changes arrives last."""
    registry = fleet.registry
    fleet.tell(registry.regroup("sensor-2", fleet.now, out_of="hall-1", into="hall-3"), late=50)
    for name in ("sensor-2", "sensor-3"):
        fleet.tell(registry.update_thing(name, fleet.now, attributes={"site": "south"}), late=20)
    fleet.wait(10)
    for name in ("sensor-2", "sensor-3"):
        fleet.tell(registry.update_thing(name, fleet.now, attributes={"model": "s2"}))
    fleet.wait(5)
    # Moved away and back: the event that arrives last is not the latest change.
    fleet.tell(registry.regroup("gateway-5", fleet.now, out_of="hall-2", into="hall-1"), late=55)
    fleet.wait(10)
    fleet.tell(registry.regroup("gateway-5", fleet.now, out_of="hall-1", into="hall-2"))
    fleet.tell(registry.update_type("sensor-4", fleet.now, "gateway"), late=15)
    fleet.wait(5)
    fleet.tell(registry.update_type("bare-11", fleet.now, "sensor"))
    fleet.wait(5)
    fleet.tell(registry.update_type("bare-11", fleet.now, ""))
    fleet.tell(registry.update_group("hall-3", fleet.now, attributes={"floor": "2"}), again=30)
    fleet.wait(2 * MINUTE)


def retire_a_type(fleet: RecordedFleet) -> None:
    """Deprecate a type, think again, and delete it once nothing is of it."""
    registry = fleet.registry
    fleet.tell(registry.deprecate_type("legacy", fleet.now))
    fleet.wait(MINUTE)
    fleet.tell(registry.deprecate_type("legacy", fleet.now, undo=True), late=90)
    fleet.wait(MINUTE)
    fleet.tell(registry.deprecate_type("legacy", fleet.now))
    fleet.tell(registry.update_type("camera-9", fleet.now, "sensor"))
    fleet.wait(6 * MINUTE)  # AWS wants it deprecated for five
    fleet.tell(registry.delete_type("legacy", fleet.now), again=120)
    fleet.wait(MINUTE)


def delete(fleet: RecordedFleet) -> None:
    """Delete things that are offline, online and unknown, and create some of them anew."""
    registry = fleet.registry
    fleet.tell(registry.update_thing("gateway-6", fleet.now, attributes={"model": "g2"}), again=40)
    moved = registry.regroup("sensor-2", fleet.now, out_of="hall-3", into="hall-2")
    fleet.tell(moved, late=40)  # when the next one of this name is in another hall
    fleet.wait(1)
    fleet.delete_thing("gateway-6", again=60)  # offline: forgotten
    fleet.delete_thing("sensor-1")  # online, and stays so for the rest of the recording
    fleet.delete_thing("sensor-12")  # online, and goes offline
    fleet.delete_thing("sensor-2", again=30)  # the same, but another one takes its name
    fleet.delete_thing("plant-pump-8", late=20)  # never connected
    fleet.wait(10)
    fleet.disconnect("sensor-2")
    fleet.disconnect("sensor-12")
    fleet.wait(10)
    for name in ("sensor-2", "gateway-6"):
        attributes = {"site": "north", "model": "new"}
        kind = FLEET[name][0]
        fleet.tell(registry.create_thing(name, fleet.now, thing_type=kind, attributes=attributes))
        fleet.tell(registry.regroup(name, fleet.now, into="hall-1"), late=10)
    fleet.wait(MINUTE)
    fleet.connect("sensor-2")
    fleet.delete_thing("plant-pump-7")  # of two clients one is online
    fleet.wait(20)
    attributes = {"site": "north", "model": "new"}
    created = registry.create_thing(
        "plant-pump-7", fleet.now, thing_type="actuator", attributes=attributes
    )
    fleet.tell(created, late=5)
    fleet.tell(registry.regroup("plant-pump-7", fleet.now, into="hall-1"))
    fleet.wait(MINUTE)


def move_a_hall(fleet: RecordedFleet) -> None:
    """Move a hall to the other site as AWS allows it, anew and filled again, and delete groups."""
    registry = fleet.registry
    late = registry.regroup("sensor-4", fleet.now, out_of="hall-3", into="hall-2")
    fleet.tell(late, late=25)  # when there is another hall of this name
    members = registry.members_of("hall-2")
    left_out = {"sensor-3", "sensor-4"}
    fleet.tell(registry.delete_group("hall-2", fleet.now), late=35)
    fleet.wait(3)
    created = registry.create_group("hall-2", fleet.now, parent="south", attributes={})
    fleet.tell(created, late=15)
    for name in [each for each in members if each not in left_out]:
        fleet.tell(registry.regroup(name, fleet.now, into="hall-2"))
        fleet.tell(registry.update_thing(name, fleet.now, attributes={"site": "south"}))
    for group in ("watched", "annex"):
        fleet.tell(registry.delete_group(group, fleet.now))
    fleet.wait(MINUTE)


def work(fleet: RecordedFleet) -> None:
    """Run a job and a command, and register a certificate."""
    arn = f"{ARN}:thing/sensor-2"
    for operation in ("cancellation_in_progress", "canceled", "completed", "deleted"):
        fleet.happen(
            "job",
            operation,
            f"job/update-{operation}/{operation}",
            {
                "eventType": "JOB",
                "eventId": f"job {operation}",
                "timestamp": int(fleet.now),
                "operation": operation,
                "jobId": f"update-{operation}",
                "status": operation.upper(),
                "targetSelection": "SNAPSHOT",
                "targets": [arn],
            },
        )
        fleet.wait(3)
    for operation in ("failed", "succeeded", "timed_out"):
        fleet.happen(
            "job_execution",
            operation,
            f"jobExecution/update/{operation}",
            {
                "eventType": "JOB_EXECUTION",
                "eventId": f"execution {operation}",
                "timestamp": int(fleet.now),
                "operation": operation,
                "jobId": "update",
                "thingArn": arn,
                "status": operation.upper(),
            },
        )
        fleet.wait(3)
    authority = "c0" * 32
    fleet.happen(
        "certificate",
        "registered",
        f"certificates/registered/{authority}",
        {
            "certificateId": "ce" * 32,
            "caCertificateId": authority,
            "timestamp": round(fleet.now * 1000),
            "certificateStatus": "PENDING_ACTIVATION",
            "awsAccountId": "123456789012",
            "certificateRegistrationTimestamp": str(round(fleet.now * 1000)),
        },
    )
    for status in ("IN_PROGRESS", "SUCCEEDED"):
        fleet.happen(
            "command_execution",
            status.lower(),
            f"commandExecution/reboot/{status}",
            {
                "executionId": "e1",
                "status": status,
                "eventType": "COMMAND_EXECUTION",
                "commandArn": arn.replace("thing/sensor-2", "command/reboot"),
                "targetArn": arn,
                "timestamp": round(fleet.now * 1000),
            },
        )
        fleet.wait(3)


if __name__ == "__main__":
    sys.stdout.writelines(record().recording())
