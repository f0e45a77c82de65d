"""Configurations with Kafka as the source of events."""

from pathlib import Path
from typing import Any
from uuid import uuid4

import yaml

from certificates import Certificates
from kafka_server import Kafka

TOPICS = ("topic", "global_topic", "state_topic", "global_state_topic")


def settings_of(kafka: Kafka, **more: Any) -> dict[str, Any]:
    """A section `kafka` with topics of its own, for the plaintext listener unless `more` says."""
    fleet = f"fleet-{uuid4().hex[:8]}"
    names = {key: f"{fleet}.{key}" for key in TOPICS}
    return {
        "bootstrap_servers": [kafka.bootstrap],
        "security": {"protocol": "PLAINTEXT"},
        "group": fleet,
        "lease": "4s",
        **names,
        **more,
    }


def by_password(
    kafka: Kafka, certificates: Certificates, directory: Path, **security: Any
) -> dict[str, Any]:
    """What alice logs in with."""
    password = directory / "password"
    password.write_text("alice-secret\n")
    return {
        "bootstrap_servers": [kafka.sasl_bootstrap],
        "security": {
            "protocol": "SASL_SSL",
            "ca": str(certificates.ca),
            "mechanism": "SCRAM-SHA-512",
            "username": "alice",
            "password_file": str(password),
            **security,
        },
    }


def by_certificate(kafka: Kafka, certificates: Certificates, **security: Any) -> dict[str, Any]:
    """What the client of the certificate connects with."""
    return {
        "bootstrap_servers": [kafka.tls_bootstrap],
        "security": {
            "protocol": "SSL",
            "ca": str(certificates.ca),
            "cert": str(certificates.client.cert),
            "key": str(certificates.client.key),
            **security,
        },
    }


def write_config(directory: Path, section: dict[str, Any], **more: Any) -> str:
    """Write a configuration with this section `kafka`, and return its path."""
    file = directory / "presenced.yaml"
    file.write_text(yaml.safe_dump({"source": "kafka", "kafka": section, **more}))
    return str(file)
