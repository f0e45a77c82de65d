"""Terraform, as its users run it."""

import shutil
import subprocess
from pathlib import Path
from typing import Any

import hcl2
import pytest


def terraform(*arguments: str, at: Path, ask: str = "") -> subprocess.CompletedProcess[str]:
    """Run Terraform, which no package registry has: without it the test is skipped, CI or not."""
    path = shutil.which("terraform")
    if path is None:
        pytest.skip("terraform is not installed: see developer.hashicorp.com/terraform/install")
    return subprocess.run(
        [path, *arguments],
        cwd=at,
        input=ask,
        env={"TF_CLI_CONFIG_FILE": "/dev/null", "CHECKPOINT_DISABLE": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def declared_resources(module: Path) -> dict[str, dict[str, Any]]:
    """The resources of a module by type and name, such as `aws_iot_thing.this`."""
    found: dict[str, dict[str, Any]] = {}
    for file in module.glob("*.tf"):
        with file.open() as text:
            for block in hcl2.load(text).get("resource", []):
                for kind, named in block.items():
                    for name, body in named.items():
                        found[f"{kind}.{name}".replace('"', "")] = body
    return found
