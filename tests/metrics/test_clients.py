"""Client metrics that are updated batch by batch equal those that are built at once."""

import re

from hypothesis import given, settings
from hypothesis import strategies as st

from histories import lifecycle
from presenced.fleet import Fleet
from presenced.metrics.clients import ClientMetrics
from presenced.metrics.series import series_blocks
from presenced.pipeline import Pipeline
from presenced.presence import ClientRule, PresenceRules, State
from presenced.presence.record import Row
from presenced.settings import MetricsSettings
from registries import thing

SETTINGS = MetricsSettings(max_clients=2, client_id_pattern=re.compile("(?P<kind>[ab])"))
CLIENTS = ["a1", "a2", "b1", "b2", "c", "once"]
STEPS = st.tuples(
    st.sampled_from(
        ["connect", "disconnect", "forget", "create", "delete", "wait", "found on", "found off"]
    ),
    st.sampled_from(CLIENTS),
)


class Bench:
    """A fleet with client metrics; each step is a second later."""

    def __init__(self) -> None:
        rules = PresenceRules(
            offline_delay=2.0,
            forget_offline_after=20.0,
            client_rules=[ClientRule("once", series=False)],
        )
        self.fleet = Fleet(rules)
        self.metrics = ClientMetrics(self.fleet, SETTINGS)
        self.pipeline = Pipeline(self.fleet, [self.metrics])
        self.now = 0

    def take(self, step: str, client_id: str) -> None:
        self.now += 1
        at = self.now * 1000
        if step == "wait":
            self.now += 10
            self.fleet.fire(self.now, 0.0)
        elif step == "forget":
            self.fleet.forget(client_id, "requested")
        elif step in ("connect", "disconnect"):
            connected = step == "connect"
            event = lifecycle(
                connected=connected, timestamp=at, version=at, session="s", client_id=client_id
            )
            self.fleet.apply(event, self.now, self.now)
        elif step in ("found on", "found off"):
            row = Row(client_id, step == "found on", at - 5000, self.now, 0, "SearchIndex")
            self.fleet.merge(row, self.now)
        else:
            kind = "created" if step == "create" else "deleted"
            event_of_thing = thing(client_id, at=at, type=kind, thing_id=None, version=None)
            self.fleet.apply_registry(event_of_thing, self.now)


@given(st.permutations(CLIENTS), st.lists(st.lists(STEPS, min_size=1, max_size=8), max_size=8))
@settings(max_examples=400, deadline=None)
def test_updates_by_batches_end_like_a_reload(
    order: list[str], batches: list[list[tuple[str, str]]]
) -> None:
    bench = Bench()
    for batch in [[("connect", client_id) for client_id in order], *batches]:
        for step, client_id in batch:
            bench.take(step, client_id)
        bench.pipeline.forget([], "requested")  # hands the changes to the observers
        before = seen(bench.metrics)
        bench.metrics.use(SETTINGS)
        assert seen(bench.metrics) == before
        transitions = [each.transition for each in bench.metrics.series.clients()]
        known = bench.fleet.presence.clients.values()
        assert len(transitions) == sum(each.state is not State.UNKNOWN for each in known)


def test_a_reload_with_another_limit_keeps_the_order_of_arrival() -> None:
    bench = Bench()
    bench.take("create", "a1")
    for client_id in ("c", "b2", "a1", "b1"):
        bench.take("connect", client_id)
    bench.pipeline.forget([], "requested")
    for limit, shown in [
        (1, {"c"}),
        (3, {"c", "b2", "a1"}),
        (0, set()),
        (4, {"c", "b2", "a1", "b1"}),
    ]:
        bench.metrics.use(SETTINGS.model_copy(update={"max_clients": limit}))
        assert client_ids(bench.metrics) == shown
    bench.metrics.use(SETTINGS.model_copy(update={"per_client": False}))
    assert client_ids(bench.metrics) == set()
    bench.metrics.use(SETTINGS.model_copy(update={"max_clients": 4}))
    assert client_ids(bench.metrics) == {"c", "b2", "a1", "b1"}


def client_ids(metrics: ClientMetrics) -> set[str]:
    text = b"".join(block.text for block in series_blocks([metrics.series])).decode()
    return set(re.findall('client_id="([^"]+)"', text))


def seen(metrics: ClientMetrics) -> tuple[list[bytes], dict[tuple[str, ...], int]]:
    lines = b"".join(block.text for block in series_blocks([metrics.series])).splitlines()
    return sorted(lines), {labels: n for labels, n in metrics.classes.samples() if n}


def last_transitions(metrics: ClientMetrics) -> list[str]:
    text = b"".join(block.text for block in series_blocks([metrics.series])).decode()
    name = "iot_client_last_transition_timestamp_seconds{"
    return [line.split('"')[1] for line in text.splitlines() if line.startswith(name)]


def test_a_client_that_awss_record_shows_offline_has_no_last_transition_until_it_connects() -> None:
    bench = Bench()
    bench.take("found off", "a1")
    bench.take("found on", "b1")
    bench.pipeline.forget([], "requested")
    assert client_ids(bench.metrics) == {"a1", "b1"}
    assert last_transitions(bench.metrics) == ["b1"], "online in the record: since then"
    bench.metrics.restored()
    assert last_transitions(bench.metrics) == ["b1"]
    bench.take("connect", "a1")
    bench.pipeline.forget([], "requested")
    assert set(last_transitions(bench.metrics)) == {"a1", "b1"}


def test_a_client_with_events_takes_the_place_of_one_that_only_the_record_knows() -> None:
    bench = Bench()
    for step, client_id in (("found off", "a1"), ("found off", "a2"), ("connect", "b1")):
        bench.take(step, client_id)
    bench.pipeline.forget([], "requested")
    assert client_ids(bench.metrics) == {"a1", "b1"}
    bench.take("connect", "a2")
    bench.pipeline.forget([], "requested")
    assert client_ids(bench.metrics) == {"a2", "b1"}
    bench.metrics.restored()
    assert client_ids(bench.metrics) == {"a2", "b1"}
