"""The dashboard Device: presence of one client over time, from its own series."""

from grafana_foundation_sdk.models.dashboard import (
    Dashboard,
    DataTransformerConfig,
    DynamicConfigValue,
)

from boards.frame import board, query_variable
from boards.parts import NO_SERIES, listing, number, query, timeline, words
from boards.queries import CHOSEN, merged_client, share_online

_CLIENT = f'client_id="$client_id",{CHOSEN}'
_CONNECTED = merged_client(f"iot_client_connected{{{_CLIENT}}}")
_SINCE = merged_client(f"iot_client_last_transition_timestamp_seconds{{{_CLIENT}}}")
_PRESENCE = {"1": ("online", "green"), "0": ("offline", "red")}


def _over_range(function: str) -> str:
    """Return the sum or count of the samples of all workers that had the client."""
    samples = f"{function}_over_time(iot_client_connected{{{_CLIENT}}}[$__range])"
    return f"sum without (instance, partition) ({samples})"


def dashboard() -> Dashboard:
    """Build the dashboard; all of it requires the series of each client."""
    made = board(
        "presenced-device",
        "Device",
        "Presence of one client over time. Requires metrics.per_client, and a client within "
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
        "Online includes pending: disconnected, within the offline delay.",
        _CONNECTED,
        _PRESENCE,
    )
    made.with_panel(presence.no_value(NO_SERIES).span(4))
    since = number(
        "Since",
        "When the client last went online or offline; if offline, the time of its disconnect.",
        f"{_SINCE} * 1000",
        "dateTimeFromNow",
    )
    made.with_panel(since.no_value(NO_SERIES).span(5))
    share = number(
        "Availability",
        "Share of the selected time in which the client was online.",
        _over_range("sum") + " / " + _over_range("count"),
        "percentunit",
    )
    made.with_panel(share.decimals(2).no_value(NO_SERIES).span(5))
    transitions = number(
        "Transitions",
        "Number of transitions in the selected time, as far as scrapes saw them.",
        merged_client(
            f"changes(iot_client_last_transition_timestamp_seconds{{{_CLIENT}}}[$__range])"
        ),
    )
    made.with_panel(transitions.no_value(NO_SERIES).span(5))
    rest = number(
        "Share of the fleet online",
        "If this share fell as well, the cause is not this device.",
        share_online(),
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
            "Transitions in the selected time, as far as scrapes saw them, latest first.",
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
                options={"renameByName": {"Value #when": "When", "Value #state (last)": "State"}},
            )
        )
        .with_transformation(
            DataTransformerConfig(
                id_val="sortBy", options={"sort": [{"field": "When", "desc": True}]}
            )
        )
        .override_by_name(
            "State",
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
        "Registry",
        "Thing type and the attributes of metrics.thing_attributes.",
        "none",
        query(merged_client(f"iot_client_info{{{_CLIENT}}}")).instant(),
    )
    made.with_panel(
        info.with_transformation(
            DataTransformerConfig(
                id_val="organize",
                options={"excludeByName": {"Time": True, "Value": True, "job": True}},
            )
        ).no_value("No registry events received, or no series of each client (metrics.per_client)")
    )
    return made.build()
