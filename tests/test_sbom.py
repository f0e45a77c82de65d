"""The lists of components: valid CycloneDX, complete, and the same at each time."""

import json
import shutil
import subprocess
import sys

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from brokers import missing
from debian import PROJECT
from image_sbom import image_sbom

LISTED = {
    "python": "3.13.15",
    "distributions": {"presenced": "1.2.3", "aiohttp": "3.14.0", "prometheus_client": "0.24.1"},
    "distribution": "debian-13",
    "packages": [["libc6", "2.41-12", "amd64"], ["tzdata", "2026a-1", "all"]],
}


def test_every_component_has_a_package_url() -> None:
    text = image_sbom(LISTED)
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    document = json.loads(text)
    assert document["metadata"]["component"]["version"] == "1.2.3"
    assert sorted(each["purl"] for each in document["components"]) == [
        "pkg:deb/debian/libc6@2.41-12?arch=amd64&distro=debian-13",
        "pkg:deb/debian/tzdata@2026a-1?arch=all&distro=debian-13",
        "pkg:generic/python@3.13.15",
        "pkg:pypi/aiohttp@3.14.0",
        "pkg:pypi/prometheus-client@0.24.1",
    ]
    assert image_sbom(LISTED) == text


def test_what_is_installed_is_listed() -> None:
    if shutil.which("dpkg-query") is None:
        missing("not installed: apt-get install dpkg")
    program = PROJECT / "config" / "sbom" / "list_components.py"
    done = subprocess.run([sys.executable, program], capture_output=True, text=True, check=True)
    listed = json.loads(done.stdout)
    assert "presenced" in listed["distributions"]
    assert listed["python"] == sys.version.split()[0]
    assert {"dpkg", "libc6"} <= {name for name, _, _ in listed["packages"]}
