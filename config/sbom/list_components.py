"""List what is installed, as JSON: runs in the image, with nothing but Python and dpkg."""

import json
import platform
import subprocess
import sys
from importlib.metadata import distributions
from pathlib import Path

release = dict(
    line.replace('"', "").split("=", 1)
    for line in Path("/etc/os-release").read_text().splitlines()
    if "=" in line
)
packages = subprocess.run(
    ["dpkg-query", "--show", "--showformat=${Package}\\t${Version}\\t${Architecture}\\n"],
    capture_output=True,
    text=True,
    check=True,
).stdout
json.dump(
    {
        "python": platform.python_version(),
        "distributions": {each.name: each.version for each in distributions()},
        "distribution": f"{release['ID']}-{release['VERSION_ID']}",
        "packages": [line.split("\t") for line in packages.splitlines()],
    },
    sys.stdout,
)
