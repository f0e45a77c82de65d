"""The `doctor` command, from its options to its output."""

import asyncio
from collections.abc import Callable
from pathlib import Path

from presenced import log
from presenced.doctor.examination import examine
from presenced.doctor.report import Report, Status, Step, in_words
from presenced.mqtt.source import SourceOptions
from presenced.visitors import load_for_visit

__all__ = ["run_doctor"]


def run_doctor(
    config: Path,
    *,
    wait: float,
    client_id: str | None,
    as_json: bool,
    say: Callable[[str], None],
) -> bool:
    """Examine the connections that a configuration file describes; whether no step failed.

    What is found goes to `say`, line by line. Raises SettingsError.
    """
    settings, stands_in_for = load_for_visit(config, client_id, "doctor")
    # Refusals are what the steps tell; the log is for what is wrong with this program.
    log.configure("error", settings.log.format)

    def tell(options: SourceOptions, step: Step | None) -> None:
        if step is None:
            say(f"{options.client_id} at {options.address} ({settings.mqtt.transport})")
            return
        for line in in_words(step):
            say(line)

    def keep_quiet(_: SourceOptions, __: Step | None) -> None:
        """Programs are told all at once."""

    report = asyncio.run(
        examine(
            settings,
            wait=wait,
            stands_in_for=stands_in_for,
            tell=keep_quiet if as_json else tell,
        )
    )
    say(report.as_json() if as_json else _summary(report))
    return report.ok


def _summary(report: Report) -> str:
    counts = {
        status: sum(
            step.finding.status is status for steps in report.connections.values() for step in steps
        )
        for status in (Status.FAILED, Status.WARNING)
    }
    if not any(counts.values()):
        return "Everything is well."
    return ", ".join(f"{count} {status}" for status, count in counts.items() if count) + "."
