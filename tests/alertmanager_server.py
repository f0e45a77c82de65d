"""A real Alertmanager with the example configuration, and the server that it notifies."""

import json
import shutil
import subprocess
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from brokers import free_port, missing
from documentation import PROJECT
from waiting import wait_for

CONFIG = PROJECT / "config/alertmanager/alertmanager.yml"


def tool(name: str) -> str:
    """The path of a program of Alertmanager; skips the test without it."""
    return shutil.which(name) or missing(
        f"{name} is not installed: apt-get install prometheus-alertmanager"
    )


class Notified:
    """Takes notifications like Slack, at /slack, and PagerDuty, at /pagerduty."""

    def __init__(self) -> None:
        received: list[tuple[str, Any]] = []

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                received.append((self.path, json.loads(body)))
                self.send_response(202 if self.path == "/pagerduty" else 200)
                self.end_headers()
                self.wfile.write(b"ok")

            def log_message(self, *args: Any) -> None:
                """Write nothing to the output of the tests."""

        self._received = received
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def slack(self) -> list[dict[str, str]]:
        """The attachments that Slack would show."""
        return [body["attachments"][0] for path, body in list(self._received) if path == "/slack"]

    def pages(self) -> list[dict[str, Any]]:
        """The events that PagerDuty would take."""
        return [body for path, body in list(self._received) if path == "/pagerduty"]

    def message(self, words: str) -> dict[str, str]:
        """Wait for an attachment with these words in its title; the newest one of them."""
        wait_for(lambda: any(words in each["title"] for each in self.slack()), what=words)
        return [each for each in self.slack() if words in each["title"]][-1]

    def page(self, words: str) -> dict[str, Any]:
        """Wait for an event with these words in its summary; the newest one of them."""
        wait_for(lambda: any(words in each for each in self.summaries()), what=words)
        return [each for each in self.pages() if words in each["payload"]["summary"]][-1]

    def summaries(self) -> list[str]:
        """The summaries of the events that PagerDuty would take."""
        return [event["payload"]["summary"] for event in self.pages()]


class Alertmanager:
    """An Alertmanager that sends after `wait` instead of half a minute."""

    def __init__(self, directory: Path, notified: Notified, *, wait: str = "1s") -> None:
        for name in ("slack-url", "pagerduty-key"):
            (directory / name).write_text(f"{notified.url}/slack" if "url" in name else "0" * 32)
        text = CONFIG.read_text().replace("/etc/alertmanager/", f"{directory}/")
        text = text.replace("group_wait: 30s", f"group_wait: {wait}")
        text = text.replace("group_interval: 5m", f"group_interval: {wait}")
        config = directory / "alertmanager.yml"
        config.write_text(f"global: {{pagerduty_url: '{notified.url}/pagerduty'}}\n{text}")
        shutil.copy(CONFIG.with_name("presenced.tmpl"), directory)
        self.url = f"http://127.0.0.1:{free_port()}"
        with (directory / "alertmanager.log").open("wb") as log:
            self.process = subprocess.Popen(
                [
                    tool("prometheus-alertmanager"),
                    f"--config.file={config}",
                    f"--storage.path={directory / 'alerts'}",
                    f"--web.listen-address={self.url.removeprefix('http://')}",
                    "--cluster.listen-address=",
                ],
                stdout=log,
                stderr=log,
            )
        wait_for(self.is_ready, what="Alertmanager")

    def is_ready(self) -> bool:
        """Whether it answers."""
        try:
            with urllib.request.urlopen(f"{self.url}/-/ready", timeout=5):
                return True
        except OSError:
            return False

    def post(self, *alerts: dict[str, Any]) -> None:
        """Send alerts to it as Prometheus does."""
        request = urllib.request.Request(
            f"{self.url}/api/v2/alerts",
            json.dumps(alerts).encode(),
            {"Content-Type": "application/json"},
        )
        urllib.request.urlopen(request, timeout=10).close()

    def states(self) -> dict[str, str]:
        """The state of each alert by its name: active, suppressed or unprocessed."""
        with urllib.request.urlopen(f"{self.url}/api/v2/alerts", timeout=10) as answer:
            return {
                each["labels"]["alertname"]: each["status"]["state"] for each in json.load(answer)
            }


@contextmanager
def running(directory: Path) -> Iterator[tuple[Alertmanager, Notified]]:
    """Run both for the duration of this context."""
    notified = Notified()
    thread = threading.Thread(target=notified.server.serve_forever)
    thread.start()
    try:
        alertmanager = Alertmanager(directory, notified)
        try:
            yield alertmanager, notified
        finally:
            alertmanager.process.terminate()
            alertmanager.process.wait(10)
    finally:
        notified.server.shutdown()
        thread.join()
        notified.server.server_close()
