"""Variables, links, colours and panel types that the dashboards share.

Queries select daemons with `CHOSEN`. Targets that differ only in `instance` are one fleet: a
high-availability pair (docs/how-to/high-availability.md) or the workers of a Kafka group
(docs/how-to/scale-out.md). `merged` merges them to one value for each partition, which a panel adds
up; without Kafka there are no partitions. `merged_client` merges the series of one client.
"""

import json
from collections.abc import Sequence
from string import ascii_uppercase

from grafana_foundation_sdk.builders import (
    bargauge,
    dashboard,
    heatmap,
    prometheus,
    stat,
    statetimeline,
    table,
    timeseries,
)
from grafana_foundation_sdk.builders import common as building
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import common
from grafana_foundation_sdk.models.dashboard import (
    Dashboard,
    DashboardCursorSync,
    DashboardLinkType,
    DataSourceRef,
    DynamicConfigValue,
    FieldColorModeId,
    Threshold,
    ThresholdsMode,
    ValueMap,
    ValueMapping,
    ValueMappingResult,
    VariableOption,
    VariableRefresh,
    VariableSort,
)
from grafana_foundation_sdk.models.heatmap import HeatmapColorMode
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

CHOSEN = 'job=~"$job",instance=~"$instance"'
KNOWN = 'state!="unknown"'
ONLINE = 'state=~"online|pending"'
NO_SERIES = "No series of each client (metrics.per_client)"

Steps = Sequence[tuple[str, float | None]]
Query = prometheus.Dataquery

GOOD_IF_MANY: Steps = (("red", None), ("orange", 0.8), ("green", 0.95))
GOOD_IF_NONE: Steps = (("green", None), ("orange", 1.0))
STATES = {"online": "green", "pending": "yellow", "offline": "red", "unknown": "text"}

_SOURCE = DataSourceRef(type_val="prometheus", uid="${datasource}")
_NEUTRAL: Steps = (("text", None),)
_LEGEND = (
    building.VizLegendOptions()
    .display_mode(common.LegendDisplayMode.LIST)
    .placement(common.LegendPlacement.BOTTOM)
    .show_legend(show_legend=True)
)
# Keys of interval variables, which the SDK writes into variables of all types.
_OF_INTERVALS = ("auto", "auto_min", "auto_count")
_LAST = building.ReduceDataOptions().calcs(["lastNotNull"])


def as_json(made: Dashboard) -> str:
    """Return the JSON of a dashboard, with the panel and query IDs that Grafana requires."""
    document = json.loads(JSONEncoder().encode(made))
    for variable in document["templating"]["list"]:
        for key in _OF_INTERVALS:
            variable.pop(key, None)
    for number, panel in enumerate(document["panels"], start=1):
        panel["id"] = number
        for letter, asked in zip(ascii_uppercase, panel.get("targets", ()), strict=False):
            asked["refId"] = asked["refId"] or letter
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def merged(expression: str) -> str:
    """Merge the daemons of a fleet; with Kafka the label `partition` stays."""
    return f"max without (instance) ({expression})"


def merged_client(expression: str) -> str:
    """Merge the series of each client, which may have moved to another worker."""
    return f"max without (instance, partition) ({expression})"


def _clients(states: str) -> str:
    return f"sum({merged(f'sum without (state) (iot_clients{{{states},{CHOSEN}}})')})"


SHARE_ONLINE = f"{_clients(ONLINE)} / {_clients(KNOWN)}"


def board(uid: str, title: str, description: str, *, span: str) -> dashboard.Dashboard:
    """Start a dashboard with the common variables and links; `span` is a time such as 6h."""
    return (
        dashboard.Dashboard(title)
        .uid(uid)
        .description(description)
        .tags(["presenced"])
        .editable()
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .refresh("30s")
        .time(f"now-{span}", "now")
        .timezone("browser")
        .link(
            dashboard.DashboardLink("presenced")
            .type(DashboardLinkType.DASHBOARDS)
            .tooltip("Other dashboards of presenced")
            .tags(["presenced"])
            .include_vars(include_vars=True)
            .keep_time(keep_time=True)
        )
        .with_variable(
            dashboard.DatasourceVariable("datasource").label("Data source").type("prometheus")
        )
        .with_variable(_choice("job", "Job", "label_values(presenced_build_info, job)"))
        .with_variable(
            _choice(
                "instance",
                "Instance",
                'label_values(presenced_build_info{job=~"$job"}, instance)',
            )
        )
    )


def _choice(name: str, label: str, asked: str) -> dashboard.QueryVariable:
    return (
        query_variable(name, label, asked)
        .multi(multi=True)
        .include_all(include_all=True)
        .all_value(".*")
        .current(VariableOption(text=["All"], value=["$__all"]))
    )


def query_variable(name: str, label: str, asked: str) -> dashboard.QueryVariable:
    """Return a variable whose values come from Prometheus."""
    return (
        dashboard.QueryVariable(name)
        .label(label)
        .datasource(_SOURCE)
        .query({"query": asked, "refId": name})
        .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(VariableSort.NATURAL_ASC)
    )


def query(expression: str, legend: str = "") -> Query:
    """Return a query over the selected time."""
    asked = prometheus.Dataquery().expr(expression).legend_format(legend).range()
    return asked.datasource(_SOURCE)


def device_link(column: str) -> dashboard.DashboardLink:
    """Return a link from a table row to the dashboard Device; `column` holds the client ID."""
    client = f"${{__data.fields.{column}:percentencode}}"
    chosen = "${datasource:queryparam}&${job:queryparam}"
    url = f"/d/presenced-device/device?var-client_id={client}&{chosen}"
    return dashboard.DashboardLink("Presence of this device over time").url(url)


def number(
    title: str, description: str, expression: str, unit: str = "none", steps: Steps = _NEUTRAL
) -> stat.Panel:
    """Return a panel with one present number, coloured by its threshold."""
    return (
        stat.Panel()
        .title(title)
        .description(description)
        .datasource(_SOURCE)
        .unit(unit)
        .thresholds(_thresholds(steps))
        .color_scheme(_by_thresholds())
        .reduce_options(_LAST)
        .graph_mode(common.BigValueGraphMode.NONE)
        .height(4)
        .with_target(query(expression))
    )


def words(
    title: str, description: str, expression: str, meaning: dict[str, tuple[str, str]]
) -> stat.Panel:
    """Return a panel that shows a word in its colour instead of a number."""
    return number(title, description, expression).mappings(_mappings(meaning))


def lines(title: str, description: str, unit: str, *queries: Query) -> timeseries.Panel:
    """Return a panel with lines over time."""
    panel = (
        timeseries.Panel()
        .title(title)
        .description(description)
        .datasource(_SOURCE)
        .unit(unit)
        .min(0)
        .thresholds(_thresholds(_NEUTRAL))
        .fill_opacity(10)
        .show_points(common.VisibilityMode.NEVER)
        .legend(_LEGEND)
        .tooltip(building.VizTooltipOptions().mode(common.TooltipDisplayMode.MULTI))
        .height(8)
        .span(12)
    )
    for asked in queries:
        panel.with_target(asked)
    return panel


def stacked(panel: timeseries.Panel) -> timeseries.Panel:
    """Stack the series of a panel."""
    stacking = building.StackingConfig().mode(common.StackingMode.NORMAL)
    return panel.stacking(stacking).fill_opacity(50).line_width(1)


def coloured(panel: timeseries.Panel, colours: dict[str, str]) -> timeseries.Panel:
    """Give the named series of a panel fixed colours."""
    for name, colour in colours.items():
        fixed = {"mode": "fixed", "fixedColor": colour}
        panel.override_by_name(name, [DynamicConfigValue(id_val="color", value=fixed)])
    return panel


def bars(title: str, description: str, unit: str, steps: Steps, asked: Query) -> bargauge.Panel:
    """Return a panel with a bar for the present value of each series."""
    return (
        bargauge.Panel()
        .title(title)
        .description(description)
        .datasource(_SOURCE)
        .unit(unit)
        .min(0)
        .max(1)
        .thresholds(_thresholds(steps))
        .color_scheme(_by_thresholds())
        .orientation(common.VizOrientation.HORIZONTAL)
        .display_mode(common.BarGaugeDisplayMode.BASIC)
        .reduce_options(_LAST)
        .height(8)
        .span(12)
        .with_target(asked.instant())
    )


def heat(title: str, description: str, unit: str, expression: str) -> heatmap.Panel:
    """Return a heat map of histogram buckets; the expression keeps the label `le`."""
    return (
        heatmap.Panel()
        .title(title)
        .description(description)
        .datasource(_SOURCE)
        .calculate(calculate=False)
        .y_axis(heatmap.YAxisConfig().unit(unit))
        .color(
            heatmap.HeatmapColorOptions().mode(HeatmapColorMode.SCHEME).scheme("Oranges").steps(64)
        )
        .cell_gap(1)
        .unit("short")
        .thresholds(_thresholds(_NEUTRAL))
        .height(8)
        .span(12)
        .with_target(query(expression, "{{le}}").format(PromQueryFormat.HEATMAP))
    )


def timeline(
    title: str, description: str, meaning: dict[str, tuple[str, str]], asked: Query
) -> statetimeline.Panel:
    """Return a panel with the value of each series over time, as coloured bands."""
    return (
        statetimeline.Panel()
        .title(title)
        .description(description)
        .datasource(_SOURCE)
        .unit("none")
        .thresholds(_thresholds(_NEUTRAL))
        .mappings(_mappings(meaning))
        .show_value(common.VisibilityMode.NEVER)
        .merge_values(merge_values=True)
        .row_height(0.8)
        .legend(_LEGEND)
        .height(6)
        .span(12)
        .with_target(asked)
    )


def listing(title: str, description: str, unit: str, *queries: Query) -> table.Panel:
    """Return a table with a row for each series or time."""
    panel = (
        table.Panel()
        .title(title)
        .description(description)
        .datasource(_SOURCE)
        .unit(unit)
        .thresholds(_thresholds(_NEUTRAL))
        .height(8)
        .span(12)
    )
    for asked in queries:
        panel.with_target(asked.format(PromQueryFormat.TABLE))
    return panel


def _by_thresholds() -> dashboard.FieldColor:
    return dashboard.FieldColor().mode(FieldColorModeId.THRESHOLDS)


def _thresholds(steps: Steps) -> dashboard.ThresholdsConfig:
    made = [Threshold(color=colour, value=value) for colour, value in steps]
    return dashboard.ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(made)


def _mappings(meaning: dict[str, tuple[str, str]]) -> list[ValueMapping]:
    return [
        ValueMap(
            {
                value: ValueMappingResult(text=text, color=colour, index=index)
                for index, (value, (text, colour)) in enumerate(meaning.items())
            }
        )
    ]
