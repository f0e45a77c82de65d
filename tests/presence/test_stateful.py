"""Connect, disconnect, time and forget in random order, against a naive model."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from histories import lifecycle
from presenced.presence import ClientChange, Presence, PresenceRules, State
from recorders import assert_reasons_are_counted, fire

DELAY, FORGET = 5.0, 100.0
CLIENTS = st.sampled_from(["a", "b", "c"])


class Model:
    """One client, in the simplest form, whatever it costs."""

    def __init__(self) -> None:
        self.version = 0
        self.connected = False
        self.at = 0.0
        self.state = State.UNKNOWN
        self.since = 0.0
        self.offline_at = 0.0

    def connect(self, now: float, log: list) -> None:
        if self.state in (State.UNKNOWN, State.OFFLINE):
            log.append((now, now, self.state, State.ONLINE))
        self.state = State.ONLINE

    def disconnect(self, now: float, log: list) -> None:
        if self.state is State.UNKNOWN:
            log.append((now, now, State.UNKNOWN, State.OFFLINE))
            self.state, self.offline_at = State.OFFLINE, now
        elif self.state is State.ONLINE:
            self.state, self.since = State.PENDING, now

    def look(self, now: float, log: list) -> bool:
        """Let time pass; whether the client is to be forgotten."""
        if self.state is State.PENDING and now >= self.since + DELAY:
            self.state, self.offline_at = State.OFFLINE, self.since + DELAY
            log.append((self.offline_at, self.since, State.ONLINE, State.OFFLINE))
        return self.state is State.OFFLINE and now >= self.offline_at + FORGET


class PresenceMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.transitions: dict[str, list] = {}
        self.expected: dict[str, list] = {}
        self.model: dict[str, Model] = {}
        self.departed: dict[str, Model] = {}
        self.versions: dict[str, int] = {}
        self.forgotten = {"expired": 0, "thing_deleted": 0, "requested": 0}
        rules = PresenceRules(offline_delay=DELAY, forget_offline_after=FORGET)
        self.presence = Presence(rules)

    def note(self, change: ClientChange) -> None:
        t = change.transition
        if t is not None:
            self.transitions.setdefault(t.client_id, []).append(
                (t.time, t.since, t.previous, t.state)
            )

    def apply(
        self, client_id: str, *, connected: bool, version: int, at: float | None = None
    ) -> None:
        event = lifecycle(
            connected=connected,
            timestamp=round((self.now if at is None else at) * 1000),
            version=version,
            session=f"s{version}",
            client_id=client_id,
        )
        self.note(self.presence.apply(event, self.now, self.now))

    @rule(client_id=CLIENTS)
    def connect(self, client_id: str) -> None:
        version = self.versions[client_id] = self.versions.get(client_id, 0) + 1
        self.apply(client_id, connected=True, version=version)
        model = self.model.setdefault(client_id, Model())
        self.departed.pop(client_id, None)
        model.version, model.connected, model.at = version, True, self.now
        model.connect(self.now, self.expected.setdefault(client_id, []))

    @rule(client_id=CLIENTS)
    def disconnect(self, client_id: str) -> None:
        version = self.versions.get(client_id, 0)
        self.apply(client_id, connected=False, version=version)
        known = self.model.get(client_id) or self.departed.get(client_id)
        is_near = known is not None and self.now - known.at <= 240
        if known is not None and known.version == version and not known.connected and is_near:
            return  # a duplicate; one stamped later by more than 2A is of another connection
        model = self.model.setdefault(client_id, Model())
        self.departed.pop(client_id, None)
        model.version, model.connected, model.at = version, False, self.now
        model.disconnect(self.now, self.expected.setdefault(client_id, []))

    @rule(client_id=CLIENTS)
    def connect_of_an_older_connection(self, client_id: str) -> None:
        known = self.model.get(client_id) or self.departed.get(client_id)
        if known is not None and known.version > 0:
            self.apply(client_id, connected=True, version=known.version - 1, at=known.at)

    @rule(seconds=st.sampled_from([0.0, 1.0, 4.0, 5.0, 60.0, 99.0, 100.0, 105.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds
        for change in fire(self.presence, self.now):
            self.note(change)
        for client_id, model in list(self.model.items()):
            if model.look(self.now, self.expected[client_id]):
                self.departed[client_id] = self.model.pop(client_id)
                self.forgotten["expired"] += 1

    @rule(client_id=CLIENTS)
    def forget(self, client_id: str) -> None:
        self.presence.forget(client_id, "thing_deleted")
        model = self.model.pop(client_id, None)
        if model is not None:
            self.departed[client_id] = model
            self.forgotten["thing_deleted"] += 1

    @invariant()
    def agrees(self) -> None:
        assert {c.client_id: c.state for c in self.presence.clients.values()} == {
            client_id: model.state for client_id, model in self.model.items()
        }
        states = [model.state for model in self.model.values()]
        assert self.presence.counts.clients == {state: states.count(state) for state in State}
        assert_reasons_are_counted(self.presence)
        assert {k: v for k, v in self.transitions.items() if v} == {
            k: v for k, v in self.expected.items() if v
        }
        assert self.presence.counts.forgotten == self.forgotten


PresenceMachine.TestCase.settings = settings(max_examples=300, stateful_step_count=40)
TestPresence = PresenceMachine.TestCase
