"""Rules for clients with certain IDs: `presence.clients`."""

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet_bench import DELAY, Bench
from fleet_process import Process, Time, check, known
from histories import lifecycle
from presenced.presence import ClientRule, PresenceRules, State
from presenced.presence.client_rules import ClientRules

ONCE = ClientRule("$GEN/*", forget_offline_after=600.0, series=False)
RECORDING = Path(__file__).parents[1] / "recordings/ephemeral.jsonl"


def bench_with(*rules: ClientRule) -> Bench:
    bench = Bench()
    bench.fleet.presence.use_rules(rules_with(*rules))
    return bench


def rules_with(*rules: ClientRule) -> PresenceRules:
    return PresenceRules(offline_delay=DELAY, forget_offline_after=86400.0, client_rules=rules)


def test_the_first_rule_that_matches_applies() -> None:
    first, second = ClientRule("a-[0-9]"), ClientRule("a-*", offline_delay=1.0)
    rules = ClientRules([first, second])
    assert rules.find("a-1") is first
    assert rules.find("a-b") is second
    assert rules.find("b") is None
    assert ClientRules([]).find("b") is None


def test_clients_whose_ids_are_used_once_are_soon_forgotten() -> None:
    bench = bench_with(ONCE)
    for client_id in ("$GEN/1", "pump"):
        bench.connect(client_id)
        bench.disconnect(client_id)
    bench.wait(DELAY)
    counts = bench.fleet.presence.counts
    assert counts.clients[State.OFFLINE] == 2, "they count while they are known"
    bench.wait(599.0)
    assert set(bench.states) == {"$GEN/1", "pump"}
    bench.wait(1.0)
    assert set(bench.states) == {"pump"}
    assert counts.forgotten["expired"] == 1
    bench.wait(86400.0)
    assert bench.states == {}


def test_an_online_client_is_not_forgotten_whatever_its_rule() -> None:
    bench = bench_with(ONCE)
    bench.connect("$GEN/1")
    bench.wait(86400.0)
    assert bench.states == {"$GEN/1": "online"}


@pytest.mark.parametrize("reason", [None, "MQTT_KEEP_ALIVE_TIMEOUT"])
def test_the_delay_of_a_rule_is_that_of_every_reason(reason: str | None) -> None:
    bench = Bench()
    bench.fleet.presence.use_rules(
        PresenceRules(
            offline_delay=DELAY,
            offline_delay_by_reason={"MQTT_KEEP_ALIVE_TIMEOUT": 30.0},
            client_rules=[ClientRule("slow-*", offline_delay=60.0), ClientRule("fast", 0.0)],
        )
    )
    for client_id in ("slow-1", "fast"):
        bench.connect(client_id)
        event = lifecycle(
            connected=False,
            timestamp=round(bench.now * 1000),
            version=1,
            session="s1",
            client_id=client_id,
        )
        event.reason = reason
        bench.fleet.apply(event, bench.now, bench.now)
    bench.record()
    assert bench.states == {"slow-1": "pending", "fast": "offline"}
    bench.wait(59.0)
    assert bench.states["slow-1"] == "pending"
    bench.wait(1.0)
    assert bench.states["slow-1"] == "offline"


def test_other_rules_apply_to_clients_that_are_offline_already() -> None:
    bench = bench_with()
    for client_id in ("$GEN/1", "$GEN/2", "pump"):
        bench.connect(client_id)
        bench.disconnect(client_id)
        bench.wait(DELAY)
    bench.wait(300.0)
    bench.fleet.presence.use_rules(rules_with(ONCE))
    client = bench.fleet.presence.clients["$GEN/1"]
    assert bench.fleet.presence.deadline(client) == pytest.approx(1005.0 + 600.0)
    bench.wait(1605.0 - bench.now)
    assert set(bench.states) == {"$GEN/2", "pump"}, "each as long after it went offline"
    bench.fleet.presence.use_rules(rules_with())
    bench.wait(3600.0)
    assert set(bench.states) == {"$GEN/2", "pump"}


def test_rules_apply_after_a_restart(tmp_path: Path) -> None:
    path, time = tmp_path / "presenced.db", Time()
    process = Process(path, time)
    for client_id in ("$GEN/1", "pump"):
        for connected in (True, False):
            process.apply(
                lifecycle(
                    connected=connected,
                    timestamp=round(time.wall * 1000),
                    version=1,
                    session="s",
                    client_id=client_id,
                )
            )
    time.now += DELAY
    process.advance()
    process.publish()
    process.flush()
    process.end()
    rules = PresenceRules(offline_delay=DELAY, forget_offline_after=86400.0, client_rules=[ONCE])
    process = Process(path, time, rules=rules)
    time.now += 600.0
    process.advance()
    check(process)
    assert set(known(process)["clients"]) == {"pump"}
    process.end()


IDS = st.sampled_from(["$GEN/1", "$GEN/2", "a", "b"])
RULE_SETS = st.lists(
    st.sampled_from(
        [ONCE, ClientRule("a", forget_offline_after=50.0), ClientRule("?", offline_delay=2.0)]
    ),
    max_size=3,
)
STEPS = st.one_of(
    st.tuples(st.just("connect"), IDS),
    st.tuples(st.just("disconnect"), IDS),
    st.tuples(st.just("wait"), st.sampled_from([1.0, 40.0, 500.0])),
    st.tuples(st.just("rules"), RULE_SETS),
)


@given(st.lists(STEPS, max_size=40))
def test_each_client_is_forgotten_when_its_present_rule_says(
    steps: list[tuple[str, object]],
) -> None:
    bench = bench_with()
    rules: list[ClientRule] = []
    for name, argument in steps:
        if name == "rules":
            assert isinstance(argument, list)
            rules = argument
            bench.fleet.presence.use_rules(rules_with(*rules))
            bench.wait(0.0)
        else:
            getattr(bench, name)(argument)
        for client in bench.fleet.presence.clients.values():
            rule = ClientRules(rules).find(client.client_id)
            after = 86400.0 if rule is None else rule.forget_offline_after or 86400.0
            assert client.rule == rule
            if client.offline_at is not None:
                assert bench.fleet.presence.deadline(client) == client.offline_at + after
                assert client.offline_at + after > bench.now


def test_a_recording_of_ids_that_are_used_once(tmp_path: Path) -> None:
    """Four of them come first, and three devices have all the series there are."""
    config = tmp_path / "presenced.yaml"
    config.write_text("mqtt:\n  endpoint: x\nmetrics:\n  max_clients: 3\n")
    shown = replayed(config)
    series = {line for line in shown if line.startswith("iot_client_connected{")}
    assert series == {f'iot_client_connected{{client_id="pump-{n}"}} 1' for n in range(3)}
    assert 'iot_clients{state="offline"} 4.0' in shown
    assert "presenced_clients_without_series 0.0" in shown
    config.write_text(config.read_text() + "presence:\n  clients: []\n")
    assert "presenced_clients_without_series 4.0" in replayed(config)


def replayed(config: Path) -> list[str]:
    command = [sys.executable, "-m", "presenced", "replay", "--config", str(config)]
    command += ["--print", "metrics", str(RECORDING)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
