"""The life of a registry: writes tests/recordings/registry.jsonl.

`python tests/registry_life.py > tests/recordings/registry.jsonl`, with the package installed.
"""

import sys

from lives import Life
from presenced_emulator.events import thing_arn
from presenced_emulator.lifecycle import DisconnectReason

__all__ = ["live"]

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


def live() -> Life:
    """Tell the whole life; nobody is pending once the last disconnects have stood their delay."""
    life = Life(SEED, START)
    found(life)
    connect(life)
    move(life)
    retire_a_type(life)
    delete(life)
    move_a_hall(life)
    work(life)
    life.disconnect("gateway-5")
    life.disconnect("plant/pump-7", DisconnectReason.SERVER_INITIATED_DISCONNECT)
    return life


def found(life: Life) -> None:
    """Create types, groups and things; some are told only after what is about them."""
    registry = life.registry
    for kind in ("sensor", "gateway", "actuator", "legacy"):
        life.tell(registry.create_type(kind, life.now, searchable=("site",)), late=20)
    life.tell(registry.create_group("plants", life.now, attributes={}))
    for site in ("north", "south"):
        attributes = {"site": site}
        life.tell(registry.create_group(site, life.now, parent="plants", attributes=attributes))
    for hall, site in HALLS.items():
        late = 30 if hall == "hall-2" else 0
        created = registry.create_group(hall, life.now, parent=site, attributes={"site": site})
        life.tell(created, late=late, again=45)
    life.tell(registry.create_group("watched", life.now, attributes={}))
    life.tell(registry.create_group("annex", life.now, parent="south", attributes={}))
    life.wait(5)
    for name, (kind, hall) in FLEET.items():
        late = 25 if name in ("sensor-3", "spare-10") else 0
        attributes = {"site": HALLS[hall], "model": f"{kind[0]}1"}
        life.tell(
            registry.create_thing(name, life.now, thing_type=kind, attributes=attributes), late=late
        )
        life.tell(registry.regroup(name, life.now, into=hall), again=40)
        life.wait(0.2)
    life.tell(registry.create_thing("bare-11", life.now, attributes={}))
    for name in ("sensor-1", "gateway-6"):
        life.tell(registry.regroup(name, life.now, into="watched"))
    for number in (7, 8):
        registry.attach(f"plant/pump-{number}", f"plant-pump-{number}")
    registry.attach("plant/pump-7/backup", "plant-pump-7")
    life.wait(MINUTE)


def connect(life: Life) -> None:
    """Let devices connect, flap and be taken over; one connected before the recording begins."""
    life.missing.add("sensor-4")
    for client_id in ("sensor-1", "sensor-2", "sensor-3", "sensor-4", "gateway-5", "gateway-6"):
        life.connect(client_id)
        life.wait(0.5)
    for client_id in ("plant/pump-7", "plant/pump-7/backup", "camera-9", "sensor-12", "visitor"):
        life.connect(client_id)
        life.wait(0.5)
    life.wait(MINUTE)
    life.disconnect("sensor-3")
    life.wait(2)
    life.connect("sensor-3")
    life.connect("gateway-5")  # takes over
    life.disconnect("plant/pump-7/backup", DisconnectReason.CLIENT_INITIATED_DISCONNECT)
    life.disconnect("gateway-6", DisconnectReason.MQTT_KEEP_ALIVE_TIMEOUT)
    life.refuse("stranger")
    life.wait(MINUTE)


def move(life: Life) -> None:
    """Move and change things; the older of two changes is told after the newer one."""
    registry = life.registry
    life.tell(registry.regroup("sensor-2", life.now, out_of="hall-1", into="hall-3"), late=50)
    for name in ("sensor-2", "sensor-3"):
        life.tell(registry.update_thing(name, life.now, attributes={"site": "south"}), late=20)
    life.wait(10)
    for name in ("sensor-2", "sensor-3"):
        life.tell(registry.update_thing(name, life.now, attributes={"model": "s2"}))
    life.wait(5)
    # Away and back again: what is told last is not what is true.
    life.tell(registry.regroup("gateway-5", life.now, out_of="hall-2", into="hall-1"), late=55)
    life.wait(10)
    life.tell(registry.regroup("gateway-5", life.now, out_of="hall-1", into="hall-2"))
    life.tell(registry.update_thing("sensor-4", life.now, thing_type="gateway"), late=15)
    life.wait(5)
    life.tell(registry.update_thing("bare-11", life.now, thing_type="sensor"))
    life.wait(5)
    life.tell(registry.update_thing("bare-11", life.now, thing_type=""))
    life.tell(registry.update_group("hall-3", life.now, attributes={"floor": "2"}), again=30)
    life.wait(2 * MINUTE)


def retire_a_type(life: Life) -> None:
    """Deprecate a type, think again, and delete it once nothing is of it."""
    registry = life.registry
    life.tell(registry.deprecate_type("legacy", life.now))
    life.wait(MINUTE)
    life.tell(registry.deprecate_type("legacy", life.now, undo=True), late=90)
    life.wait(MINUTE)
    life.tell(registry.deprecate_type("legacy", life.now))
    life.tell(registry.update_thing("camera-9", life.now, thing_type="sensor"))
    life.wait(6 * MINUTE)  # AWS wants it deprecated for five
    life.tell(registry.delete_type("legacy", life.now), again=120)
    life.wait(MINUTE)


def delete(life: Life) -> None:
    """Delete things that are offline, online and unknown, and create some of them anew."""
    registry = life.registry
    life.tell(registry.update_thing("gateway-6", life.now, attributes={"model": "g2"}), again=40)
    moved = registry.regroup("sensor-2", life.now, out_of="hall-3", into="hall-2")
    life.tell(moved, late=40)  # when the next one of this name is in another hall
    life.wait(1)
    life.delete_thing("gateway-6", again=60)  # offline: forgotten
    life.delete_thing("sensor-1")  # online, and stays so for the rest of the recording
    life.delete_thing("sensor-12")  # online, and goes offline
    life.delete_thing("sensor-2", again=30)  # the same, but another one takes its name
    life.delete_thing("plant-pump-8", late=20)  # never connected
    life.wait(10)
    life.disconnect("sensor-2")
    life.disconnect("sensor-12")
    life.wait(10)
    for name in ("sensor-2", "gateway-6"):
        attributes = {"site": "north", "model": "new"}
        kind = FLEET[name][0]
        life.tell(registry.create_thing(name, life.now, thing_type=kind, attributes=attributes))
        life.tell(registry.regroup(name, life.now, into="hall-1"), late=10)
    life.wait(MINUTE)
    life.connect("sensor-2")
    life.delete_thing("plant-pump-7")  # of two clients one is online
    life.wait(20)
    attributes = {"site": "north", "model": "new"}
    created = registry.create_thing(
        "plant-pump-7", life.now, thing_type="actuator", attributes=attributes
    )
    life.tell(created, late=5)
    life.tell(registry.regroup("plant-pump-7", life.now, into="hall-1"))
    life.wait(MINUTE)


def move_a_hall(life: Life) -> None:
    """Move a hall to the other site as AWS allows it, anew and filled again, and delete groups."""
    registry = life.registry
    late = registry.regroup("sensor-4", life.now, out_of="hall-3", into="hall-2")
    life.tell(late, late=25)  # when there is another hall of this name
    members = registry.members_of("hall-2")
    left_out = {"sensor-3", "sensor-4"}
    life.tell(registry.delete_group("hall-2", life.now), late=35)
    life.wait(3)
    created = registry.create_group("hall-2", life.now, parent="south", attributes={})
    life.tell(created, late=15)
    for name in [each for each in members if each not in left_out]:
        life.tell(registry.regroup(name, life.now, into="hall-2"))
        life.tell(registry.update_thing(name, life.now, attributes={"site": "south"}))
    for group in ("watched", "annex"):
        life.tell(registry.delete_group(group, life.now))
    life.wait(MINUTE)


def work(life: Life) -> None:
    """Run a job and a command, and register a certificate."""
    arn = thing_arn("sensor-2")
    for operation in ("cancellation_in_progress", "canceled", "completed", "deleted"):
        life.happen(
            "job",
            operation,
            f"job/update-{operation}/{operation}",
            {
                "eventType": "JOB",
                "eventId": f"job {operation}",
                "timestamp": int(life.now),
                "operation": operation,
                "jobId": f"update-{operation}",
                "status": operation.upper(),
                "targetSelection": "SNAPSHOT",
                "targets": [arn],
            },
        )
        life.wait(3)
    for operation in ("failed", "succeeded", "timed_out"):
        life.happen(
            "job_execution",
            operation,
            f"jobExecution/update/{operation}",
            {
                "eventType": "JOB_EXECUTION",
                "eventId": f"execution {operation}",
                "timestamp": int(life.now),
                "operation": operation,
                "jobId": "update",
                "thingArn": arn,
                "status": operation.upper(),
            },
        )
        life.wait(3)
    authority = "c0" * 32
    life.happen(
        "certificate",
        "registered",
        f"certificates/registered/{authority}",
        {
            "certificateId": "ce" * 32,
            "caCertificateId": authority,
            "timestamp": round(life.now * 1000),
            "certificateStatus": "PENDING_ACTIVATION",
            "awsAccountId": "123456789012",
            "certificateRegistrationTimestamp": str(round(life.now * 1000)),
        },
    )
    for status in ("IN_PROGRESS", "SUCCEEDED"):
        life.happen(
            "command_execution",
            status.lower(),
            f"commandExecution/reboot/{status}",
            {
                "executionId": "e1",
                "status": status,
                "eventType": "COMMAND_EXECUTION",
                "commandArn": arn.replace("thing/sensor-2", "command/reboot"),
                "targetArn": arn,
                "timestamp": round(life.now * 1000),
            },
        )
        life.wait(3)


if __name__ == "__main__":
    sys.stdout.writelines(live().recording())
