// A dashboard by Grafana's published types. They leave the options of panels open; here these depend on
// the type of the panel. Queries, also those of
// annotations, and the values of overrides stay open.
import type * as grafana from "@grafana/schema";
import type * as bargauge from "@grafana/schema/dist/esm/raw/composable/bargauge/panelcfg/x/BarGaugePanelCfg_types.gen";
import type * as heatmap from "@grafana/schema/dist/esm/raw/composable/heatmap/panelcfg/x/HeatmapPanelCfg_types.gen";
import type * as stat from "@grafana/schema/dist/esm/raw/composable/stat/panelcfg/x/StatPanelCfg_types.gen";
import type * as statetimeline from "@grafana/schema/dist/esm/raw/composable/statetimeline/panelcfg/x/StateTimelinePanelCfg_types.gen";
import type * as table from "@grafana/schema/dist/esm/raw/composable/table/panelcfg/x/TablePanelCfg_types.gen";
import type * as timeseries from "@grafana/schema/dist/esm/raw/composable/timeseries/panelcfg/x/TimeSeriesPanelCfg_types.gen";

// JSON has the value of an enum where TypeScript wants its member.
type Json<T> = T extends string
  ? `${T}`
  : T extends number
    ? `${T}` extends `${infer N extends number}`
      ? N
      : T
    : T extends object
      ? { [K in keyof T]: Json<T[K]> }
      : T;

type Panel<Type, Options, Custom> = Json<
  Omit<grafana.Panel, "type" | "options" | "fieldConfig">
> & {
  type: Type;
  options?: Json<Options>;
  fieldConfig?: Json<Omit<grafana.FieldConfigSource, "defaults">> & {
    defaults: Json<Omit<grafana.FieldConfig, "custom">> & { custom?: Json<Custom> };
  };
};

export type Board = Omit<Json<grafana.Dashboard>, "panels" | "annotations"> & {
  annotations?: {
    list?: Array<
      Omit<Json<grafana.AnnotationQuery>, "target"> & { target?: Record<string, unknown> }
    >;
  };
  panels: Array<
    | Json<grafana.RowPanel>
    | Panel<"bargauge", bargauge.Options, never>
    | Panel<"heatmap", heatmap.Options, heatmap.FieldConfig>
    | Panel<"stat", stat.Options, never>
    | Panel<"state-timeline", statetimeline.Options, statetimeline.FieldConfig>
    | Panel<"table", table.Options, table.FieldConfig>
    | Panel<"timeseries", timeseries.Options, timeseries.FieldConfig>
  >;
};
