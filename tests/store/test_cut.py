"""A run that is cut into several processes ends in the state of an uncut one."""

from pathlib import Path
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from fleet_process import Process, Time, check, dumped, known, state_path, stored
from histories import arrivals, histories, lifecycle
from presenced.events.model import LifecycleEvent
from presenced.presence import State
from registries import thing
from registry.life import Registry, seen, truth
from store.steps import START, STEPS, WAITS, Step, forgetting, waiting


class Life:
    """One life over several processes, each with a monotonic clock that begins anew."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.time = Time()
        self.process = Process(path, self.time)

    def cut(self) -> None:
        """End the process once all is in the file, and start another one."""
        self.process.flush()
        self.process.end()
        begun_anew = 512.0 if self.time.now > 5000 else 8192.0
        self.time.now, self.time.offset = (
            begun_anew,
            self.time.offset + self.time.now - begun_anew,
        )
        transitions = self.process.transitions
        self.process = Process(self.path, self.time)
        self.process.transitions[:0] = transitions


def by_client(process: Process) -> dict[str, list[object]]:
    """Transitions of each client; those of one moment come in no certain order."""
    transitions: dict[str, list[object]] = {}
    for transition in process.transitions:
        transitions.setdefault(transition.client_id, []).append(transition)
    return transitions


@settings(max_examples=300, deadline=None)
@given(steps=STEPS, data=st.data())
def test_a_cut_changes_nothing(steps: list[Step], data: st.DataObject) -> None:
    cuts = data.draw(st.sets(st.integers(0, len(steps) - 1), min_size=1, max_size=4))
    with state_path() as path, state_path() as uncut:
        cut, whole = Life(path), Life(uncut)
        for number, step in enumerate(steps):
            if number in cuts:
                cut.cut()
                check(cut.process)
                assert known(cut.process) == known(whole.process)
            step(cut.process)
            step(whole.process)
        assert known(cut.process) == known(whole.process)
        assert by_client(cut.process) == by_client(whole.process)
        check(cut.process)
        cut.process.end()
        whole.process.end()


def test_a_forgotten_client_whose_thing_goes_away_keeps_its_place_in_time() -> None:
    """It is unknown for as long as the thing is there, over a restart, and then forgotten only."""
    disconnect = lifecycle(
        connected=False, timestamp=START, version=3, session="s", client_id="pump"
    )
    gone = thing("pump", at=9, type="deleted")
    with state_path() as path:
        life = Life(path)
        life.process.apply_registry(thing("pump", at=1))
        life.process.apply(disconnect)
        forgetting("pump")(life.process)
        for step in (
            life.cut,
            life.cut,
            lambda: life.process.apply_registry(gone),
            life.cut,
            life.cut,
        ):
            step()
            life.process.apply(disconnect)
            life.process.apply(disconnect)
            assert life.process.presence.counts.transitions[State.OFFLINE] == 1
        assert life.process.presence.clients == {}
        life.process.end()


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_a_cut_among_true_histories_changes_nothing(data: st.DataObject) -> None:
    """Several clients, whose events come late, twice and in any order."""
    events = [
        _of(name, event)
        for name in ("a", "b", "c")
        for event in data.draw(arrivals(data.draw(histories(most_connections=4))))
    ]
    events = data.draw(st.permutations(events))
    waits = data.draw(st.lists(st.sampled_from(WAITS), min_size=len(events), max_size=len(events)))
    cuts = data.draw(st.sets(st.integers(0, len(events)), min_size=1, max_size=3))
    with state_path() as path, state_path() as uncut:
        cut, whole = Life(path), Life(uncut)
        for number, (event, seconds) in enumerate(zip(events, waits, strict=True)):
            if number in cuts:
                cut.cut()
            for life in (cut, whole):
                life.process.apply(event)
                waiting(seconds)(life.process)
        cut.cut()
        assert known(cut.process) == known(whole.process)
        assert by_client(cut.process) == by_client(whole.process)
        cut.process.end()
        whole.process.end()


def _of(client_id: str, event: LifecycleEvent) -> LifecycleEvent:
    return lifecycle(
        connected=event.connected,
        timestamp=event.timestamp,
        version=event.version,
        session=event.session,
        reason=event.reason,
        client_id=client_id,
    )


@settings(max_examples=200, deadline=None)
@given(st.randoms(use_true_random=True))
def test_a_cut_registry_ends_in_the_truth(random: Random) -> None:
    registry = Registry(random)
    for _ in range(random.randrange(1, 100)):
        registry.step()
    events = [*registry.events, *random.choices(registry.events or [None], k=5)]
    events = [event for event in events if event is not None]
    random.shuffle(events)
    at = random.randrange(len(events) + 1)
    with state_path() as path:
        life = Life(path)
        for event in events[:at]:
            life.process.apply_registry(event)
        before = seen(life.process.fleet.inventory)
        life.cut()
        assert seen(life.process.fleet.inventory) == before
        check(life.process)
        for event in events[at:]:
            life.process.apply_registry(event)
        assert seen(life.process.fleet.inventory) == truth(registry)
        check(life.process)
        life.process.end()


@settings(max_examples=300, deadline=None)
@given(steps=STEPS, data=st.data())
def test_what_is_noted_as_changed_is_all_that_changed(
    steps: list[Step], data: st.DataObject
) -> None:
    """Written bit by bit, the file holds what a dump of everything holds."""
    numbers = range(len(steps))
    flushes = data.draw(st.just(set(numbers)) | st.sets(st.sampled_from(numbers)))
    with state_path() as path:
        life = Life(path)
        for number, step in enumerate(steps):
            step(life.process)
            if number in flushes:
                life.process.flush()
        life.process.flush()
        expected = dumped(life.process)
        life.process.end()
        assert stored(path) == expected
