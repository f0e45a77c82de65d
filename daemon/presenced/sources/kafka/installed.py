"""Whether the client of Kafka is installed. Only this module can be imported without it."""

from importlib.util import find_spec

from presenced.settings import Problem

_PACKAGE = "confluent_kafka"


def missing_client() -> Problem | None:
    """Return the problem of a configuration with `source: kafka` without the client."""
    if find_spec(_PACKAGE) is not None:
        return None
    return Problem(
        key="source",
        value="kafka",
        message="needs the Python package confluent-kafka, which is not installed",
        remedy="Install presenced with its extra kafka: `pipx install --force '.[kafka]'` in its"
        " source directory",
    )
