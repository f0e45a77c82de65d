"""What a start with a large state file costs: `python benchmarks/restart.py [CLIENTS]`.

A mosquitto must be installed. Prints the time from the start of the process until `/-/ready` says
so, and the resident memory then, beside those of a start with an empty file in the same run.
"""

import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

import yaml
from state_writer import fill

RUNS = 3


def free_port() -> int:
    """A loopback port that is free at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def start_broker(directory: Path, port: int) -> subprocess.Popen[bytes]:
    """A mosquitto without TLS."""
    executable = shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin:/usr/bin:/bin")
    if executable is None:
        raise SystemExit("mosquitto is not installed: apt-get install mosquitto")
    config = directory / "mosquitto.conf"
    config.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\n")
    return subprocess.Popen(
        [executable, "-c", str(config)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )


def measure(directory: Path, broker: int, state: Path, per_client: bool) -> tuple[float, int, int]:
    """Seconds until ready, and resident memory then and at its highest, in bytes."""
    port = free_port()
    config = directory / "presenced.yaml"
    settings = {
        "mqtt": {"endpoint": "localhost", "port": broker, "tls": False, "client_id": state.stem},
        "metrics": {"listen": f"127.0.0.1:{port}", "per_client": per_client},
        "state": {"path": str(state)},
        "log": {"level": "warning"},
    }
    config.write_text(yaml.safe_dump(settings))
    began = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-m", "presenced", "run", "--config", str(config)])
    while not is_ready(port):
        if process.poll() is not None:
            raise SystemExit("presenced has ended")
        time.sleep(0.01)
    took = time.perf_counter() - began
    memory = {
        key: int(value.split()[0]) * 1024
        for key, _, value in (
            line.partition(":")
            for line in Path(f"/proc/{process.pid}/status").read_text().splitlines()
        )
        if key in ("VmRSS", "VmHWM")
    }
    process.terminate()
    process.wait()
    return took, memory["VmRSS"], memory["VmHWM"]


def is_ready(port: int) -> bool:
    """Whether the daemon answers that it is ready."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/-/ready", timeout=5) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def main() -> None:
    """Measure and print."""
    clients = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        full, empty = directory / "full.db", directory / "empty.db"
        fill(full, clients)
        print(f"file of {clients:,} clients: {full.stat().st_size / 1e6:.0f} MB")
        broker = free_port()
        mosquitto = start_broker(directory, broker)
        print(f"{'':32}{'ready after':>12}{'memory':>12}{'highest':>12}")
        for label, state, per_client in (
            ("empty file", empty, False),
            ("all clients, no series", full, False),
            ("all clients, 20,000 with series", full, True),
        ):
            runs = [measure(directory, broker, state, per_client) for _ in range(RUNS)]
            took, memory, highest = sorted(runs)[RUNS // 2]
            print(f"{label:32}{took:>10.2f} s{memory / 1e6:>9.0f} MB{highest / 1e6:>9.0f} MB")
        mosquitto.terminate()
        mosquitto.wait()


if __name__ == "__main__":
    main()
