"""Documented commands that need neither root nor AWS do what the text says."""

import asyncio
import re
import shutil
from pathlib import Path

import yaml

from brokers import free_port
from command_runner import CommandRunner, need
from documentation import PROJECT, block, blocks, prose
from presenced_emulator.broker import EmulatedBroker
from presenced_emulator.certificates import issue
from statefiles import fill

SECURING = "docs/how-to/secure-the-listener.md"
PASSWORD = "correct horse"
END = "trap 'kill $(jobs -p); wait' EXIT\n"
WAIT = "curl -sf --retry 50 --retry-delay 1 --retry-all-errors http://localhost:9884/-/healthy\n"


def test_from_the_configuration_to_the_first_metrics(tmp_path: Path) -> None:
    need("curl")
    certificates = issue(tmp_path)

    async def scenario() -> None:
        async with EmulatedBroker(certificates, seed=1) as broker:
            runner = CommandRunner(
                tmp_path,
                # Protocol and address of the emulator.
                PRESENCED_MQTT__TRANSPORT="aiomqtt",
                PRESENCED_MQTT__PROTOCOL="3.1.1",
                PRESENCED_MQTT__PORT=str(broker.port),
                PRESENCED_MQTT__SESSION_EXPIRY="0s",
                PRESENCED_MQTT__TLS__CERT=str(certificates.daemon.cert),
                PRESENCED_MQTT__TLS__KEY=str(certificates.daemon.key),
                PRESENCED_MQTT__TLS__CA=str(certificates.daemon.ca),
            )
            assert "is valid" in await runner.run(block("README.md", "ENDPOINT="))
            steps = await runner.run(block("README.md", "presenced doctor"))
            assert "first message" in steps
            assert "FAILED" not in steps
            wait = block("docs/how-to/upgrade.md", "curl --silent")
            start, ready, metrics = block("README.md", "presenced run &").splitlines()
            answers = await runner.run(END + "\n".join([start, ready, wait, metrics]))
            assert 'presenced_mqtt_connected{connection="presenced"} 1.0' in answers

    asyncio.run(scenario())


def test_securing_the_listener(tmp_path: Path) -> None:
    need("curl", "openssl")
    runner = CommandRunner(
        tmp_path, PRESENCED_MQTT__TLS="false", PRESENCED_MQTT__PORT=str(free_port())
    )
    (web,) = [text for text in blocks(SECURING, "yaml") if "basic_auth_users" in text]
    (named,) = [text for text in blocks(SECURING, "yaml") if "web_config" in text]

    async def scenario() -> None:
        await runner.run(block(SECURING, "openssl req"))
        make_hash = block(SECURING, "/opt/presenced/bin/python -c")
        hashed = (await runner.run(make_hash, answer=f"{PASSWORD}\n")).splitlines()[-1]
        (runner.etc / "web.yml").write_text(re.sub(r"\$2b\S+", lambda _: hashed, web))
        config = "mqtt:\n  endpoint: localhost\n" + runner.adapted(named)
        (runner.etc / "presenced.yaml").write_text(config)
        assert "is valid" in await runner.run(block(SECURING, "presenced check"))
        ask = END + "presenced run &\n" + WAIT + block(SECURING, "curl -s -o /dev/null")
        refused, answered = (await runner.run(ask, answer=f"{PASSWORD}\n")).split("401\n")
        assert "presenced_build_info" not in refused
        assert "presenced_build_info" in answered
        assert answered.endswith(refused)

    asyncio.run(scenario())


def test_looking_into_the_state_file(tmp_path: Path) -> None:
    need("sqlite3")
    runner = CommandRunner(tmp_path)
    fill(runner.lib / "presenced.db", ["a", "b"])
    command = block("docs/reference/state-file.md", "sqlite3 -readonly")
    asyncio.run(runner.run(command, answer="SELECT * FROM clients;\n"))


def test_what_the_runbook_does_with_the_rules(tmp_path: Path) -> None:
    runner = CommandRunner(tmp_path)
    for file in (PROJECT / "config/prometheus/rules").glob("*.yml"):
        shutil.copy(file, runner.etc)
    readdress, find_jobs = re.findall(r"`((?:sed|grep) [^`]+)`", prose("docs/how-to/runbook.md"))
    assert "job=~" in asyncio.run(runner.run(find_jobs))
    asyncio.run(runner.run(readdress))
    for name in ("alerts.yml", "devices.yml"):
        text = (runner.etc / name).read_text()
        urls = [
            rule["annotations"]["runbook_url"]
            for group in yaml.safe_load(text)["groups"]
            for rule in group["rules"]
        ]
        assert urls
        begin = '{{ with "https://wiki.example.org/presenced/docs" }}{{ . }}/how-to/runbook.md#'
        assert all(url.startswith(begin) for url in urls)
        assert "docs_url" not in text


def test_the_tutorial(tmp_path: Path) -> None:
    need("curl")
    page = "docs/tutorial/first-fleet.md"
    (options,) = re.findall(r'make demo ARGS="(.+)"', (PROJECT / page).read_text())
    address = f"127.0.0.1:{free_port()}"
    states, offline = block(page, "curl -s http").splitlines()
    listed = block(page, "curl -s 'http")
    demo = f"{END}presenced demo {options} --listen {address} >&2 &\n"
    wait = f"for i in $(seq 80); do {offline} && break; sleep 0.5; done\n"
    script = f"{demo}{wait}{states}\n{offline}\n{listed}"
    out = asyncio.run(CommandRunner(tmp_path).run(script.replace("127.0.0.1:9883", address)))
    assert 'iot_clients{state="online"}' in out
    assert out.rstrip().endswith("}")
    assert '"state":"offline"' in out
