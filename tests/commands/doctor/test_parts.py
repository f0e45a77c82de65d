"""Steps and findings of the doctor that need no broker."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from certificates import Certificates
from presenced.commands.doctor.mqtt_steps import no_message, refused
from presenced.commands.doctor.report import Finding, Report, Status
from presenced.commands.doctor.steps import check_files
from presenced.service.build import client_filter
from presenced.settings import TlsSettings, load_settings
from presenced.sources.mqtt.connection_options import ConnectionOptions, TlsFiles
from presenced.sources.mqtt.faults import Fault, FaultReason
from presenced.sources.mqtt.options import without_side_effects

OPTIONS = ConnectionOptions(
    endpoint="abc-ats.iot.eu-west-1.amazonaws.com",
    port=8883,
    client_id="presenced-doctor",
    filters=("$aws/events/#",),
    tls=None,
)


@pytest.fixture
def now() -> datetime:
    return datetime.now(UTC)


def settings_of(files: TlsFiles) -> TlsSettings:
    return TlsSettings(cert=files.cert, key=files.key, ca=files.ca)


def test_files_that_soon_expire_are_a_warning(certificates: Certificates, now: datetime) -> None:
    certificates.second_client.key.chmod(0o600)
    tls = settings_of(certificates.second_client)
    finding = check_files(tls, now)
    assert finding.status is Status.WARNING
    assert "mqtt.tls.cert" in finding.detail
    assert "expires within 30 days" in finding.detail
    assert "renew the certificate" in finding.remedy
    assert check_files(tls, now - timedelta(hours=1)).status is Status.OK


def test_a_key_that_everyone_can_read_is_a_warning(
    certificates: Certificates, now: datetime
) -> None:
    certificates.client.key.chmod(0o644)
    finding = check_files(settings_of(certificates.client), now)
    certificates.client.key.chmod(0o600)
    assert finding.status is Status.WARNING
    assert "accessible to every user" in finding.detail
    assert "chmod o-rwx" in finding.remedy


def test_each_problem_of_the_files_has_its_remedy(
    certificates: Certificates, now: datetime, tmp_path: Path
) -> None:
    bad = tmp_path / "bad.pem"
    bad.write_text("no PEM")
    bad.chmod(0o644)
    finding = check_files(settings_of(TlsFiles(bad, bad, tmp_path / "nothing")), now)
    assert finding.status is Status.FAILED
    assert finding.remedy == (
        "mqtt.tls.cert: Put the certificate there in PEM format, or correct mqtt.tls.cert. "
        "mqtt.tls.key: Put the private key there in PEM format, or correct mqtt.tls.key. "
        "mqtt.tls.ca: Put the file there, or correct mqtt.tls.ca. "
        f"mqtt.tls.key: Run chmod o-rwx {bad}"
    )
    client = certificates.client
    client.key.chmod(0o600)
    client.cert.chmod(0o644)
    swapped = check_files(settings_of(TlsFiles(client.key, client.cert, client.ca)), now)
    assert swapped.remedy == "Check whether certificate and key are swapped"


def test_problems_that_only_the_check_command_finds_fail(
    certificates: Certificates, now: datetime
) -> None:
    """A CA file without an authority: OpenSSL would take it."""
    finding = check_files(settings_of(TlsFiles(ca=certificates.client.cert)), now)
    assert finding.status is Status.FAILED
    assert "contains no certificate of an authority" in finding.detail


def test_files_are_optional(now: datetime) -> None:
    assert check_files(None, now).status is Status.SKIPPED
    none = check_files(TlsSettings(cert=None, key=None, ca=None), now)
    assert (none.status, "trust store" in none.detail) == (Status.OK, True)


def test_a_command_takes_no_message_from_the_daemon() -> None:
    shared = replace(OPTIONS, filters=("$share/g/$aws/events/#", "$aws/events/job/#"))
    assert OPTIONS.session_kept
    assert not without_side_effects(shared, "doctor").session_kept
    assert without_side_effects(shared, "doctor").filters == (
        "$share/g-doctor/$aws/events/#",
        "$aws/events/job/#",
    )


def test_the_daemon_ignores_the_clients_of_commands() -> None:
    connections = [["$aws/events/presence/#"], ["$aws/events/job/#"]]
    overrides = {"mqtt.tls": False, "mqtt.client_id": "p", "mqtt.connections": connections}
    settings = load_settings(None, environ={}, overrides=overrides, require_endpoint=False)
    ignores = client_filter(settings).why_ignored
    doctors = ("p-doctor", "p-doctor-2", "p-doctor-probe", "p-doctor-2-probe", "p-probe")
    others = ("p-record", "p-record-2", "p-simulate")
    for client_id in ("p", "p-2", *doctors, *others):
        assert ignores(client_id) == "own_client"
    assert ignores("p-doctor-3") is None


def test_only_a_refused_client_id_is_explained_by_the_client_id() -> None:
    fault = Fault(FaultReason.CONNECT_REFUSED, "refused", "Mend it")
    finding = refused(fault, OPTIONS, "presenced")
    assert finding.remedy.startswith("Mend it. The doctor connects as presenced-doctor")
    assert refused(replace(fault, remedy=""), OPTIONS, "p").remedy.startswith("The doctor")
    assert refused(fault, OPTIONS, None).remedy == "Mend it"
    other = replace(fault, reason=FaultReason.UNREACHABLE)
    assert refused(other, OPTIONS, "presenced").remedy == "Mend it"
    silence = refused(None, OPTIONS, "presenced")
    assert "did not answer CONNECT" in silence.detail
    assert "--client-id" not in silence.remedy


def test_no_message_names_the_statement_of_this_region() -> None:
    certain = no_message(OPTIONS, 10.0, probed=True)
    assert "$aws/events/presence/connected/presenced-doctor-probe" in certain.detail
    resource = "arn:aws:iot:eu-west-1:ACCOUNT:topic/$aws/events/*"
    assert json.dumps(resource) in certain.remedy
    for quiet in (
        no_message(OPTIONS, 10.0, probed=False),
        no_message(replace(OPTIONS, filters=("$aws/events/job/#",)), 10.0, probed=True),
    ):
        assert "perhaps because no event matched" in quiet.detail


def test_what_the_broker_said_is_part_of_the_finding() -> None:
    finding = Finding.of(Fault(FaultReason.OTHER, "no", "Do this", said="go away"))
    assert finding == Finding(Status.FAILED, 'no (the broker said: "go away")', "Do this")


def test_lines_for_people() -> None:
    def lines(*found: str) -> list[str]:
        return list(Finding(Status(found[0]), *found[1:]).lines("TLS"))

    assert lines("ok") == ["  ok       TLS"]
    assert lines("ok", "fine") == ["  ok       TLS: fine"]
    assert lines("skipped") == ["  skipped  TLS"]
    indent = " " * 11
    assert lines("warning", "soon", "Renew") == [
        "  warning  TLS",
        f"{indent}soon",
        f"{indent}Remedy: Renew",
    ]
    assert lines("failed", "broken") == ["  FAILED   TLS", f"{indent}broken"]


def test_a_report_is_ok_unless_a_step_failed() -> None:
    steps = {status: ("TLS", Finding(status)) for status in Status}
    bad = steps.pop(Status.FAILED)
    good = Report({"p": list(steps.values())})
    assert (good.ok, good.summary()) == (True, "1 warning.")
    report = Report({"p": list(steps.values()), "p-2": [bad]})
    assert (report.ok, report.summary()) == (False, "1 failed, 1 warning.")
    assert Report({"p": [steps[Status.WARNING]] * 2}).summary() == "2 warnings."
    assert Report({"p": [steps[Status.OK]]}).summary() == "Everything is well."
