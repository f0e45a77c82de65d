"""What is read from the files that the settings name."""

import time

from certificates import Certificates
from presenced.service.build import read_source_files
from presenced.settings import Settings
from presenced.settings.certificates import EXPIRY_WARNING
from presenced.settings.files import FileSnapshot


def test_certificates_for_kafka_are_watched(certificates: Certificates) -> None:
    soon = certificates.second_client
    security = {"cert": str(soon.cert), "key": str(soon.key), "ca": str(certificates.ca)}
    kafka = {"bootstrap_servers": ["localhost:9092"], "security": security}
    settings = Settings.model_validate({"source": "kafka", "mqtt": None, "kafka": kafka})
    files = read_source_files(settings, FileSnapshot())
    assert files.expiries.keys() == {"kafka_client", "kafka_ca"}
    assert files.expiries["kafka_client"] < time.time() + EXPIRY_WARNING.total_seconds()
    found = {(problem.key, problem.kind) for problem in files.problems}
    assert ("kafka.security.cert", "expires_soon") in found
