"""Write the dashboards: `python -m boards DIRECTORY`."""

import sys
from pathlib import Path

from boards import daemon, device, fleet, scale_out
from boards.frame import as_json


def dashboards() -> dict[str, str]:
    """Return the JSON of each dashboard by its file name."""
    return {
        "fleet.json": as_json(fleet.dashboard()),
        "device.json": as_json(device.dashboard()),
        "scale-out.json": as_json(scale_out.dashboard()),
        "presenced.json": as_json(daemon.dashboard()),
    }


if __name__ == "__main__":
    for name, text in dashboards().items():
        (Path(sys.argv[1]) / name).write_text(text)
