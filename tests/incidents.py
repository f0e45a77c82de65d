"""Six hours of a plant on a virtual clock, at the end of which a hall loses its connection."""

from collections.abc import Iterator
from random import Random

from api_fleet import ApiFleet

MINUTES, DOWN, DARK = 6 * 60, range(95, 125), 6 * 60 - 29
"""How many minutes there are; in which presenced does not run; in which one the hall goes dark."""
HALLS = ("hall-1", "hall-2", "hall-3", "hall-4")
_EACH = 75
_KINDS = ("sensor", "sensor", "sensor", "camera", "gateway")


def devices_of(hall: str) -> list[str]:
    """The client IDs of a hall, with the type of each in the name."""
    return [f"{hall}-{_kind(number)}-{number:03}" for number in range(_EACH)]


def _kind(number: int) -> str:
    return _KINDS[number % len(_KINDS)]


def play(fleet: ApiFleet) -> None:
    """Let all happen: devices come and go, one flaps, two share an ID, one is refused, and a
    hall goes dark.

    The clock stands at the end of the last minute then.
    """
    versions: dict[str, int] = {}

    def hear(kind: str, client_id: str, at: float, reason: str | None = None) -> None:
        versions[client_id] = versions.get(client_id, 0) + (kind == "connected")
        # The end of a connection that was taken over is that of the version before.
        version = versions[client_id] - (reason == "DUPLICATE_CLIENTID")
        fields = {} if reason is None else {"disconnectReason": reason}
        fleet.hear(kind, client_id, version, at=at, **fields)

    for hall in HALLS:
        for number, name in enumerate(devices_of(hall)):
            fleet.thing(name, 0, thingTypeName=_kind(number))
            fleet.join(name, hall, 0)
            hear("connected", name, 1)
        fleet.nest(hall, "plant-7", 2)
    for minute in range(MINUTES):
        for at, kind, client_id, reason in sorted(_minute(minute)):
            hear(kind, client_id, 60 * minute + at, reason or None)
        fleet.wait(60 * minute + 59)
        if minute not in DOWN:
            fleet.api.check()


def _minute(minute: int) -> Iterator[tuple[float, str, str, str]]:
    """The events of a minute."""
    if minute < 2:
        return
    random = Random(minute)
    others = [name for hall in HALLS if hall != "hall-3" for name in devices_of(hall)]
    for name in random.sample(others[5:200], 2):
        length = random.choice((1, 2, 15, 20))
        yield (
            10,
            "disconnected",
            name,
            random.choice(("CONNECTION_LOST", "MQTT_KEEP_ALIVE_TIMEOUT")),
        )
        yield 10 + length, "connected", name, ""
    if minute % 40 == 0:
        yield 45, "disconnected", others[-1 - minute // 40], "CLIENT_INITIATED_DISCONNECT"
    if minute > MINUTES - 50:
        yield 20, "disconnected", others[0], "CONNECTION_LOST"
        yield 22, "connected", others[0], ""
        yield 30, "connected", others[1], ""
        yield 30.5, "disconnected", others[1], "DUPLICATE_CLIENTID"
    if minute > MINUTES - 50 and minute % 2:
        yield 40, "connect_failed", "gateway-0034", ""
    if minute == DARK:
        for number, name in enumerate(devices_of("hall-3")[:50]):
            yield 25 + number / 3, "disconnected", name, "CONNECTION_LOST"
