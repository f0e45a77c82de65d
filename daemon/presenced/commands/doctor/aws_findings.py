"""What answers of AWS mean for the daemon: findings of the doctor, without any request."""

import json
from collections.abc import Mapping, Sequence

from presenced.aws.answers import (
    Connectivity,
    IndexDescription,
    IndexingConfiguration,
    Subscription,
    ThingPage,
)
from presenced.aws.errors import AwsError, Cause
from presenced.aws.operations import DESCRIBE_INDEX, GET_INDEXING_CONFIGURATION
from presenced.aws.refusals import INDEX_BUILDING, INDEX_OFF, enable_indexing
from presenced.commands.doctor.report import Finding, Status
from presenced.commands.output import counted
from presenced.events.topics import EVENT_CONFIGURATIONS
from presenced.settings import format_duration
from presenced.settings.topic_filters import overlapping_filters
from presenced.sources.mqtt.faults import subscribe_remedy

_OFF, _STATUS = "OFF", "STATUS"


def credentials_found(source: str, valid_for: float | None) -> Finding:
    """Return the finding for credentials of a source that are valid for some seconds.

    None is an end of validity that is not known.
    """
    until = "with no known end" if valid_for is None else f"for {format_duration(round(valid_for))}"
    return Finding(Status.OK, f"from {source}, valid {until}")


def indexing_mode(configuration: IndexingConfiguration) -> Finding:
    """Return the finding for what is indexed. Raises AwsError if connectivity is not."""
    things = configuration.thing_mode or _OFF
    connectivity = configuration.connectivity_mode or _OFF
    name = GET_INDEXING_CONFIGURATION.name
    if things == _OFF:
        raise AwsError(Cause.INDEX_OFF, name, *INDEX_OFF)
    detail = f"thingIndexingMode is {things}, thingConnectivityIndexingMode is {connectivity}"
    if connectivity != _STATUS:
        detail = f"connectivity is not indexed: {detail}"
        raise AwsError(Cause.INDEX_OFF, name, detail, enable_indexing(things))
    return Finding(Status.OK, detail)


def index_status(index: IndexDescription) -> Finding:
    """Return the finding for the index. Raises AwsError if it answers no query."""
    if index.index_status == "BUILDING":
        raise AwsError(Cause.INDEX_BUILDING, DESCRIBE_INDEX.name, *INDEX_BUILDING)
    if index.index_status == "ACTIVE":
        return Finding(Status.OK, "ACTIVE")
    return Finding(
        Status.WARNING,
        f"the index of things is {index.index_status}: its rows are old, and no snapshot verifies"
        " a client",
        INDEX_BUILDING[1],
    )


def first_page(page: ThingPage) -> Finding:
    """Return the finding for the first page of all things."""
    more = ", and more follow" if page.next_token else ""
    return Finding(Status.OK, f"{counted(len(page.things), 'thing')} on the first page{more}")


def connectivity(name: str, seen: Connectivity) -> Finding:
    """Return the finding for the answer about a client."""
    return Finding(Status.OK, f"{name} is {'connected' if seen.connected else 'not connected'}")


def event_types(enabled: Mapping[str, bool], filters: Sequence[str]) -> Finding:
    """Return the finding for the event types that the configured filters match.

    Without filters these are all that IoT rules can select.
    """
    off = [
        name
        for name, topics in EVENT_CONFIGURATIONS.items()
        if not enabled.get(name, False)
        and (not filters or any(_overlap(each, topics) for each in filters))
    ]
    matched = "the filters match" if filters else "IoT rules can select"
    if not off:
        return Finding(Status.OK, f"all that {matched} are enabled")
    switches = json.dumps({name: {"Enabled": True} for name in off}, separators=(",", ":"))
    return Finding(
        Status.WARNING,
        f"AWS publishes no events of these types, which {matched}: {', '.join(off)}",
        "Enable them for the account and region: aws iot update-event-configurations"
        f" --event-configurations '{switches}'",
    )


def _overlap(one: str, other: str) -> bool:
    return any(overlapping_filters([[one], [other]]))


def subscriptions(
    held: Sequence[Subscription], filters: Sequence[str], *, qos: int, endpoint: str
) -> Finding:
    """Return the finding for the subscriptions that AWS holds for a client ID of the daemon.

    `filters` and `qos` are the configured ones.
    """
    present = {each.topic_filter: each.qos for each in held}
    names = {each: next((n for n in _names(each) if n in present), None) for each in filters}
    if missing := [each for each, name in names.items() if name is None]:
        return Finding(
            Status.FAILED,
            f"AWS does not hold {', '.join(missing)}, which the configuration has",
            "Reload or restart the daemon after a change of mqtt.connections; its log says which"
            f" filters AWS refuses. {subscribe_remedy(missing[0], endpoint)}",
        )
    if low := [each for each, name in names.items() if name and present[name] < qos]:
        return Finding(
            Status.WARNING,
            f"AWS holds {', '.join(low)} at QoS 0, though mqtt.qos is {qos}",
            "Restart the daemon after a change of mqtt.qos",
        )
    if extra := sorted(set(present) - set(names.values())):
        return Finding(
            Status.WARNING,
            f"AWS holds {', '.join(extra)} as well, which the configuration does not have",
            "Reload or restart the daemon, which unsubscribes from filters of earlier"
            " configurations",
        )
    return Finding(Status.OK, f"AWS holds what is configured: {', '.join(filters)}")


def _names(topic_filter: str) -> tuple[str, ...]:
    """Return the names AWS may use for a filter; for shared filters this is undocumented."""
    if topic_filter.startswith("$share/"):
        return topic_filter, topic_filter.split("/", 2)[-1]
    return (topic_filter,)


def no_session(client_id: str) -> Finding:
    """Return the finding for a client ID of which AWS knows no session."""
    detail = f"AWS holds nothing for {client_id}: the daemon is not connected, and no session is"
    return Finding(Status.SKIPPED, f"{detail} kept")
