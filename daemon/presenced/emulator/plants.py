"""What the demo's fleet consists of: kinds of devices, their types and models, and where they are.

Pure names and numbers. The groups are a tree of three levels: the plants, their sites, and the
halls of each site.
"""

from math import ceil

__all__ = ["MODELS", "SITES", "TOP", "TYPES", "halls", "kind_of", "site_group", "spares", "thing"]

TOP = "plants"
SITES = ("north", "south")
FEWEST_HALLS = 4
DEVICES_PER_HALL = 25
DEVICES_PER_SPARE = 10

TYPES = {
    "sensor": "sensor",
    "gateway": "gateway",
    "camera": "sensor",
    "plant/pump": "actuator",
}
"""The thing type of each kind of device."""

MODELS = {
    "sensor": ("T-100", "T-200"),
    "gateway": ("G-4", "G-5"),
    "camera": ("C-1", "C-2"),
    "plant/pump": ("P-30", "P-60"),
}
"""The models of each kind of device."""


def kind_of(client_id: str) -> str:
    """The kind of a device."""
    return client_id.rpartition("-")[0]


def thing(client_id: str) -> str:
    """The name of a device's thing: its client ID, but that things may have no `/` in theirs."""
    return client_id.replace("/", "-")


def spares(devices: int) -> int:
    """How many things of a fleet never connect."""
    return max(1, devices // DEVICES_PER_SPARE)


def halls(things: int) -> list[str]:
    """The halls that a fleet fills."""
    count = max(FEWEST_HALLS, ceil(things / DEVICES_PER_HALL))
    return [f"hall-{number + 1}" for number in range(count)]


def site_group(site: str) -> str:
    """The group of a site."""
    return f"site-{site}"
