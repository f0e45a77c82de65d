"""Write what a container image of presenced consists of, as CycloneDX JSON.

    docker run --rm --entrypoint python3 presenced -c "$(cat config/sbom/list_components.py)" |
        python config/sbom/image_sbom.py > dist/presenced-image.cdx.json

`make sbom` does that. The components are Python's distributions and Debian's packages, with package
URLs (https://github.com/package-url/purl-spec), by which scanners find known vulnerabilities.
"""

import json
import sys
from collections.abc import Iterator, Mapping
from typing import Any

from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL


def python_components(listed: Mapping[str, Any]) -> Iterator[Component]:
    """Make a component of Python itself and of each distribution except presenced."""
    version = listed["python"]
    yield component("python", version, PackageURL("generic", None, "python", version))
    for name, version in sorted(listed["distributions"].items()):
        if name != "presenced":
            url = PackageURL("pypi", None, name.lower().replace("_", "-"), version)
            yield component(name, version, url)


def debian_components(listed: Mapping[str, Any]) -> Iterator[Component]:
    """Make a component of each Debian package."""
    for name, version, architecture in sorted(listed["packages"]):
        qualifiers = {"arch": architecture, "distro": listed["distribution"]}
        yield component(name, version, PackageURL("deb", "debian", name, version, qualifiers))


def component(name: str, version: str, url: PackageURL) -> Component:
    """Make a library, known by its package URL."""
    return Component(
        type=ComponentType.LIBRARY, name=name, version=version, purl=url, bom_ref=url.to_string()
    )


def image_sbom(listed: Mapping[str, Any]) -> str:
    """Return the document; without time and serial number, so that an image gives one text."""
    bom = Bom(components=[*python_components(listed), *debian_components(listed)])
    image = Component(
        type=ComponentType.CONTAINER,
        name="presenced",
        version=listed["distributions"]["presenced"],
        bom_ref="presenced",
    )
    bom.metadata.component = image
    bom.register_dependency(image, bom.components)
    document = json.loads(JsonV1Dot6(bom).output_as_string())
    del document["serialNumber"], document["metadata"]["timestamp"]
    return json.dumps(document, indent=1, sort_keys=True)


if __name__ == "__main__":
    sys.stdout.write(image_sbom(json.load(sys.stdin)) + "\n")
