"""Write the rules of config/prometheus/rules as an object of the Prometheus operator.

python config/kubernetes/prometheus_rule.py > config/kubernetes/monitoring/rules.yaml
"""

import sys
from pathlib import Path
from typing import Any

import yaml

RULES = Path(__file__).parents[1] / "prometheus" / "rules"


def prometheus_rule() -> dict[str, Any]:
    """Return the object, with the groups of all files."""
    files = [yaml.safe_load(file.read_text()) for file in sorted(RULES.glob("*.yml"))]
    return {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {"name": "presenced", "labels": {"app.kubernetes.io/name": "presenced"}},
        "spec": {"groups": [group for file in files for group in file["groups"]]},
    }


if __name__ == "__main__":
    sys.stdout.write(
        "# Made from config/prometheus/rules by `make kubernetes`; change them there.\n"
    )
    yaml.safe_dump(prometheus_rule(), sys.stdout, sort_keys=False, width=110)
