"""The dashboard Device: the story of one client, from its own series."""

from grafana_foundation_sdk.models.dashboard import (
    Dashboard,
    DataTransformerConfig,
    DynamicConfigValue,
)

from boards.parts import (
    CHOSEN,
    NO_SERIES,
    SHARE_ONLINE,
    board,
    listing,
    merged,
    number,
    query,
    query_variable,
    timeline,
    words,
)

__all__ = ["dashboard"]

_CLIENT = f'client_id="$client_id",{CHOSEN}'
_CONNECTED = merged(f"iot_client_connected{{{_CLIENT}}}")
_SINCE = merged(f"iot_client_last_transition_timestamp_seconds{{{_CLIENT}}}")
_PRESENCE = {"1": ("online", "green"), "0": ("offline", "red")}


def dashboard() -> Dashboard:
    """The dashboard Device; all of it needs series per client."""
    made = board(
        "presenced-device",
        "Device",
        "Presence of one client over time. Needs metrics.per_client, and a client among the first "
        "metrics.max_clients.",
        span="24h",
    ).with_variable(
        query_variable(
            "client_id",
            "Client ID",
            f"label_values(iot_client_connected{{{CHOSEN}}}, client_id)",
        )
    )
    presence = words(
        "Presence",
        "Online includes pending: disconnected, and inside the offline delay.",
        _CONNECTED,
        _PRESENCE,
    )
    made.with_panel(presence.no_value(NO_SERIES).span(4))
    since = number(
        "Since",
        "When the client last went online or offline; for offline the time of its disconnect.",
        f"{_SINCE} * 1000",
        "dateTimeFromNow",
    )
    made.with_panel(since.no_value(NO_SERIES).span(5))
    share = number(
        "Share of the time online",
        "Of the time that is shown, as far as there are data of it.",
        merged(f"avg_over_time(iot_client_connected{{{_CLIENT}}}[$__range])"),
        "percentunit",
    )
    made.with_panel(share.decimals(2).no_value(NO_SERIES).span(5))
    transitions = number(
        "Transitions",
        "How often it went online or offline in the time that is shown, as far as scrapes saw it.",
        merged(f"changes(iot_client_last_transition_timestamp_seconds{{{_CLIENT}}}[$__range])"),
    )
    made.with_panel(transitions.no_value(NO_SERIES).span(5))
    rest = number(
        "Clients of the fleet online",
        "The share of all clients. Where it fell, too, the cause is not this device.",
        SHARE_ONLINE,
        "percentunit",
    )
    made.with_panel(rest.decimals(1).span(5))
    made.with_panel(
        timeline(
            "Online and offline",
            "Presence over time. Gaps are times without data.",
            _PRESENCE,
            query(_CONNECTED, "{{client_id}}"),
        )
        .no_value(NO_SERIES)
        .height(5)
        .span(24)
    )
    made.with_panel(
        listing(
            "Last transitions",
            "Those in the time that is shown, as far as scrapes saw them, the last first.",
            "dateTimeAsIso",
            query(f"{_SINCE} * 1000").ref_id("when"),
            query(_CONNECTED).ref_id("state"),
        )
        .with_transformation(
            DataTransformerConfig(id_val="joinByField", options={"byField": "Time"})
        )
        .with_transformation(
            DataTransformerConfig(
                id_val="groupBy",
                options={
                    "fields": {
                        "Value #when": {"operation": "groupby", "aggregations": []},
                        "Value #state": {"operation": "aggregate", "aggregations": ["last"]},
                    }
                },
            )
        )
        .with_transformation(
            DataTransformerConfig(
                id_val="organize",
                options={"renameByName": {"Value #when": "When", "Value #state (last)": "It went"}},
            )
        )
        .with_transformation(
            DataTransformerConfig(
                id_val="sortBy", options={"sort": [{"field": "When", "desc": True}]}
            )
        )
        .override_by_name(
            "It went",
            [
                DynamicConfigValue(id_val="unit", value="none"),
                DynamicConfigValue(
                    id_val="mappings",
                    value=[
                        {
                            "type": "value",
                            "options": {
                                value: {"text": text, "color": colour}
                                for value, (text, colour) in _PRESENCE.items()
                            },
                        }
                    ],
                ),
            ],
        )
        .no_value(NO_SERIES)
    )
    info = listing(
        "What the registry says of it",
        "Thing type, and the attributes of metrics.thing_attributes.",
        "none",
        query(merged(f"iot_client_info{{{_CLIENT}}}")).instant(),
    )
    made.with_panel(
        info.with_transformation(
            DataTransformerConfig(
                id_val="organize",
                options={"excludeByName": {"Time": True, "Value": True, "job": True}},
            )
        ).no_value("Its registry events have not been seen, or there are no series per client")
    )
    return made.build()
