"""Colours and panel types that the dashboards share."""

from collections.abc import Sequence

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
from grafana_foundation_sdk.models import common
from grafana_foundation_sdk.models.dashboard import (
    DataSourceRef,
    DataTransformerConfig,
    DynamicConfigValue,
    FieldColorModeId,
    Threshold,
    ThresholdsMode,
    ValueMap,
    ValueMapping,
    ValueMappingResult,
)
from grafana_foundation_sdk.models.heatmap import HeatmapColorMode
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

NO_SERIES = "No series of each client (metrics.per_client)"

Steps = Sequence[tuple[str, float | None]]
Query = prometheus.Dataquery

GOOD_IF_MANY: Steps = (("red", None), ("orange", 0.8), ("green", 0.95))
GOOD_IF_FEW: Steps = (("green", None), ("orange", 0.05), ("red", 0.2))
GOOD_IF_NONE: Steps = (("green", None), ("orange", 1.0))
STATES = {"online": "green", "pending": "yellow", "offline": "red", "unknown": "text"}

SOURCE = DataSourceRef(type_val="prometheus", uid="${datasource}")
_NEUTRAL: Steps = (("text", None),)
_LEGEND = (
    building.VizLegendOptions()
    .display_mode(common.LegendDisplayMode.LIST)
    .placement(common.LegendPlacement.BOTTOM)
    .show_legend(show_legend=True)
)
_LAST = building.ReduceDataOptions().calcs(["lastNotNull"])


def query(expression: str, legend: str = "") -> Query:
    """Return a query over the selected time."""
    asked = prometheus.Dataquery().expr(expression).legend_format(legend).range()
    return asked.datasource(SOURCE)


def number(
    title: str, description: str, expression: str, unit: str = "none", steps: Steps = _NEUTRAL
) -> stat.Panel:
    """Return a panel with one present number, coloured by its threshold."""
    return (
        stat.Panel()
        .title(title)
        .description(description)
        .datasource(SOURCE)
        .unit(unit)
        .thresholds(_thresholds(steps))
        .color_scheme(_by_thresholds())
        .reduce_options(_LAST)
        .graph_mode(common.BigValueGraphMode.NONE)
        .height(4)
        # Over a range it would be the last number of a daemon that is down.
        .with_target(query(expression).instant())
    )


def words(
    title: str, description: str, expression: str, meaning: dict[str, tuple[str, str]]
) -> stat.Panel:
    """Return a panel that shows a word in its colour instead of a number."""
    return number(title, description, expression).mappings(_mappings(meaning))


def lines(title: str, description: str, unit: str, *queries: Query) -> timeseries.Panel:
    """Return a panel with lines over time, from 0."""
    return _lines(title, description, unit, *queries).min(0)


def shares(title: str, description: str, *queries: Query) -> timeseries.Panel:
    """Return a panel with shares near 1; its axis begins at 0.9, or at the lowest share."""
    return _lines(title, description, "percentunit", *queries).max(1).axis_soft_min(0.9)


def _lines(title: str, description: str, unit: str, *queries: Query) -> timeseries.Panel:
    panel = (
        timeseries.Panel()
        .title(title)
        .description(description)
        .datasource(SOURCE)
        .unit(unit)
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
        .datasource(SOURCE)
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
        .datasource(SOURCE)
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
        .datasource(SOURCE)
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
        .datasource(SOURCE)
        .unit(unit)
        .thresholds(_thresholds(_NEUTRAL))
        .height(8)
        .span(12)
    )
    for asked in queries:
        panel.with_target(asked.format(PromQueryFormat.TABLE))
    return panel


def table_of(
    title: str, description: str, unit: str, expression: str, label: tuple[str, str]
) -> table.Panel:
    """Return a table of the present values by one label, largest first.

    `label` is its name and the heading of its column; the title is the heading of the values.
    """
    name, heading = label
    transformations: tuple[tuple[str, dict[str, object]], ...] = (
        ("filterFieldsByName", {"include": {"names": [name, "Value"]}}),
        ("organize", {"renameByName": {name: heading, "Value": title}}),
        ("sortBy", {"sort": [{"field": title, "desc": True}]}),
    )
    panel = listing(title, description, unit, query(expression).instant())
    for transformation, options in transformations:
        panel.with_transformation(DataTransformerConfig(id_val=transformation, options=options))
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
