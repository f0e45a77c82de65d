"""presenced on a Debian with systemd: the units do what they promise.

The machine is one for all tests of this directory, and their order is that of a life: from the
first start, here, over what outlives reboots to the removal, in the modules that follow.
"""

import json
import re
import time

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from certificates import Certificates
from debian import PROJECT
from installations import SETTINGS, documented_blocks
from machines import Machine
from presenced import __version__
from units import (
    METRICS,
    READY,
    UNIT,
    main_pid,
    publish,
    restarts,
    state,
    status,
    wait_until_restarted,
)
from waiting import wait_for

WEB = """\
tls_server_config:
  cert_file: tls.crt
  key_file: /run/credentials/presenced.service/tls.key
"""
# Writes one line for each directory that this user may write to, /proc aside.
FIND_WRITABLE = """
import os
for directory, inner, _ in os.walk("/"):
    if directory == "/":
        inner.remove("proc")
    if os.access(directory, os.W_OK):
        print(directory)
"""


def as_service(machine: Machine, command: str) -> str:
    """The script that runs a command in the place, and with the rights, of the running daemon."""
    pid = main_pid(machine)
    return (
        f"ids=$(awk '/^Uid|^Gid/ {{print $2}}' /proc/{pid}/status); set -- $ids\n"
        f"exec nsenter --target={pid} --all --setuid=$1 --setgid=$2 -- {command}"
    )


def test_units_please_systemd(installed: Machine) -> None:
    units = [f"/usr/local/lib/systemd/system/presenced{at}.service" for at in ("", "@", "-worker@")]
    for unit in units:
        done = installed.try_run(f"systemd-analyze verify {unit}")
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        installed.run(f"systemd-analyze security --offline=true --threshold=15 {unit}")


def test_installed_is_exactly_what_the_lock_has(installed: Machine) -> None:
    code = (
        "import json; from importlib.metadata import distributions as d; "
        "print(json.dumps({each.name: each.version for each in d()}))"
    )
    found = json.loads(installed.run(f"/usr/local/lib/presenced/bin/python3 -c '{code}'"))
    lock = re.sub(r" \\\n\s+--hash=\S+", "", (PROJECT / "requirements.lock").read_text())
    locked = [Requirement(line) for line in re.findall(r"^[\w.-]+==.*$", lock, re.MULTILINE)]
    environment = {"python_full_version": installed.run("python3 --version").split()[1]}
    expected = {
        canonicalize_name(each.name): str(each.specifier).removeprefix("==")
        for each in locked
        if each.marker is None or each.marker.evaluate(environment)
    }
    versions = {canonicalize_name(name): version for name, version in found.items()}
    assert versions == expected | {"presenced": __version__}


def test_active_only_once_ready(installed: Machine) -> None:
    installed.run("systemctl stop mosquitto")
    installed.run(f"systemctl start --no-block {UNIT}")
    wait_for(lambda: "not connected: presenced: " in status(installed), what="status text")
    assert installed.show(UNIT, "ActiveState", "SubState") == {
        "ActiveState": "activating",
        "SubState": "start",
    }
    wait_for(lambda: "refuse" in status(installed), what="status text with the reason")
    assert installed.get(READY)[0] == 503
    installed.run("systemctl start mosquitto")
    wait_for(lambda: state(installed) == "active", timeout=40, what="active")
    assert installed.get(READY)[0] == 200
    granted = next(e for e in installed.journal(UNIT) if "subscription granted" in e["MESSAGE"])
    active = installed.show(UNIT, "ActiveEnterTimestampMonotonic")["ActiveEnterTimestampMonotonic"]
    assert int(granted["__MONOTONIC_TIMESTAMP"]) <= int(active)


def test_status_text(running: Machine) -> None:
    publish(running, "connected", "sensor-0017", 1)
    publish(running, "connected", "sensor-0018", 1)
    expected = "clients: 2 online, 0 offline; connected to localhost"
    wait_for(lambda: status(running) == expected, what="two clients online")
    assert f'Status: "{expected}"' in running.run(f"systemctl status {UNIT}")


def test_journal_has_levels_and_fields(running: Machine) -> None:
    publish(running, "disconnected", "sensor-0017", 1)

    def went_offline() -> list[dict[str, str]]:
        entries = running.journal(UNIT)
        return [e for e in entries if e["MESSAGE"].startswith("client went offline")]

    wait_for(went_offline, what="the transition in the journal")
    (entry,) = went_offline()
    assert "client_id=sensor-0017" in entry["MESSAGE"]
    assert entry["PRIORITY"] == "6"
    assert entry["SYSLOG_IDENTIFIER"] == "presenced"
    assert entry["PRESENCED_CLIENT_ID"] == "sensor-0017"
    assert entry["PRESENCED_PREVIOUS"] == "online"
    assert entry["_TRANSPORT"] == "journal"
    assert entry["_SYSTEMD_UNIT"] == UNIT
    warnings = [e for e in running.journal(UNIT) if e["PRIORITY"] == "4"]
    failed = next(e for e in warnings if "connection attempt failed" in e["MESSAGE"])
    assert failed["PRESENCED_REASON"] == "unreachable"
    assert all("\n" not in e["MESSAGE"] for e in running.journal(UNIT))


def test_process_metrics_survive_the_confinement(running: Machine) -> None:
    assert re.search(r"^process_resident_memory_bytes \d", running.get(METRICS)[1], re.MULTILINE)


def test_reload(running: Machine) -> None:
    pid = main_pid(running)
    running.write("/etc/presenced/presenced.yaml", SETTINGS + "presence: {offline_delay: 0s}\n")
    before = len(reloads(running))
    running.run(f"systemctl reload {UNIT}")
    wait_for(lambda: len(reloads(running)) == before + 1, what="the reload")
    publish(running, "disconnected", "sensor-0018", 1)
    wait_for(lambda: "clients: 0 online, 2 offline;" in status(running), what="no delay")
    assert (state(running), main_pid(running)) == ("active", pid)


def test_a_reload_that_fails_changes_nothing(running: Machine) -> None:
    pid = main_pid(running)
    running.write("/etc/presenced/presenced.yaml", SETTINGS + "presence: {offline_dely: 0s}\n")
    running.run(f"systemctl reload {UNIT}")
    wait_for(lambda: "last reload failed" in status(running), what="status text")
    assert (state(running), main_pid(running)) == ("active", pid)
    errors = [e for e in running.journal(UNIT) if e["PRIORITY"] == "3"]
    assert "offline_dely" in errors[-1]["PRESENCED_PROBLEMS"]
    running.write("/etc/presenced/presenced.yaml", SETTINGS)
    running.run(f"systemctl reload {UNIT}")
    wait_for(lambda: "last reload failed" not in status(running), what="status text")


def reloads(machine: Machine) -> list[str]:
    messages = [entry["MESSAGE"] for entry in machine.journal(UNIT)]
    return [message for message in messages if message.startswith("configuration reloaded")]


def test_confined(running: Machine) -> None:
    command = as_service(running, f"python3 -c '{FIND_WRITABLE}'")
    assert running.run(command).splitlines() == ["/var/lib/private/presenced"]
    refused = running.try_run(as_service(running, "cat /home/somebody/secret"))
    assert refused.returncode != 0
    assert "not for daemons" not in refused.stdout
    assert running.run("cat /home/somebody/secret") == "not for daemons"
    assert running.run(f"awk '/^CapEff/ {{print $2}}' /proc/{main_pid(running)}/status") == "0" * 16


def test_the_watchdog_restarts_what_hangs(running: Machine) -> None:
    before = restarts(running)
    running.run(f"kill -STOP {main_pid(running)}")
    wait_until_restarted(running, before, timeout=60)
    said = [entry["MESSAGE"] for entry in running.journal(UNIT)]
    assert any("Watchdog timeout" in message for message in said)
    assert "Fatal Python error: Aborted" in said, "where each thread stood"


def test_stop(running: Machine) -> None:
    running.run(f"systemctl enable {UNIT}")  # or systemd forgets how it ended
    begun = time.monotonic()
    running.run(f"systemctl stop {UNIT}")
    assert time.monotonic() - begun < 5
    assert running.show(UNIT, "ActiveState", "Result", "ExecMainCode", "ExecMainStatus") == {
        "ActiveState": "inactive",
        "Result": "success",
        "ExecMainCode": "1",  # CLD_EXITED
        "ExecMainStatus": "0",
    }
    assert "Received DISCONNECT from presenced" in running.run("cat /var/log/mosquitto/*.log")


def test_a_wrong_configuration_is_not_tried_again(installed: Machine) -> None:
    installed.write("/etc/presenced/presenced.yaml", "mqtt: {endpoin: localhost}\n")
    assert installed.try_run(f"systemctl start {UNIT}").returncode != 0
    shown = installed.show(UNIT, "ActiveState", "ExecMainStatus", "NRestarts")
    assert shown == {"ActiveState": "failed", "ExecMainStatus": "2", "NRestarts": "0"}
    said = [entry for entry in installed.journal(UNIT) if "mqtt.endpoin" in entry["MESSAGE"]]
    assert said[-1]["PRIORITY"] == "3"
    installed.run(f"systemctl reset-failed {UNIT}")


def test_a_broker_without_tls(running: Machine) -> None:
    (drop_in,) = documented_blocks("ini")
    running.write("/run/systemd/system/presenced.service.d/plain.conf", drop_in)
    running.write("/etc/presenced/presenced.yaml", SETTINGS + "  port: 1883\n  tls: false\n")
    running.run("mv /etc/presenced/certs /etc/presenced/away; systemctl daemon-reload")
    running.run(f"systemctl restart {UNIT}")
    assert running.get(READY)[0] == 200
    running.run("mv /etc/presenced/away /etc/presenced/certs")
    running.run("rm -r /run/systemd/system/presenced.service.d; systemctl daemon-reload")
    running.run(f"systemctl stop {UNIT}")


def test_the_key_of_the_listener(running: Machine, certificates: Certificates) -> None:
    key = "LoadCredential=tls.key:/etc/presenced/tls.key"
    running.write("/run/systemd/system/presenced.service.d/key.conf", f"[Service]\n{key}\n")
    running.write("/etc/presenced/tls.key", certificates.server_key.read_text(), mode=0o600)
    running.write("/etc/presenced/tls.crt", certificates.server_cert.read_text())
    running.write("/etc/presenced/web.yml", WEB)
    running.write("/etc/presenced/presenced.yaml", SETTINGS + "metrics: {web_config: web.yml}\n")
    running.run(f"systemctl daemon-reload; systemctl restart {UNIT}")
    assert running.get("--insecure " + READY.replace("http", "https"))[0] == 200
    running.run("rm -r /run/systemd/system/presenced.service.d /etc/presenced/tls.* ")
    running.run(f"rm /etc/presenced/web.yml; systemctl daemon-reload; systemctl stop {UNIT}")


def test_without_a_broker_active_after_a_minute_and_no_failure(installed: Machine) -> None:
    late = "presenced@late.service"
    wait_for(lambda: state(installed, late) == "active", timeout=75, what="active")
    times = installed.show(
        late, "InactiveExitTimestampMonotonic", "ActiveEnterTimestampMonotonic", "StatusText"
    )
    begun, active = (int(times[f"{e}TimestampMonotonic"]) for e in ("InactiveExit", "ActiveEnter"))
    assert 60e6 <= active - begun <= 75e6
    assert "not connected: presenced: " in times["StatusText"]
    installed.run(f"systemctl stop {late}")
