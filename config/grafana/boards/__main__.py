"""Writes the dashboards: `python -m boards DIRECTORY`."""

import sys
from pathlib import Path

from boards import daemon, device, fleet
from boards.parts import as_json

__all__ = ["dashboards"]


def dashboards() -> dict[str, str]:
    """The JSON of each dashboard by the name of its file."""
    return {
        "fleet.json": as_json(fleet.dashboard()),
        "device.json": as_json(device.dashboard()),
        "presenced.json": as_json(daemon.dashboard()),
    }


if __name__ == "__main__":
    for name, text in dashboards().items():
        (Path(sys.argv[1]) / name).write_text(text)
