// A dashboard as we write them: Grafana's own types, joined for the panels and queries in use.
import type { Dashboard, FieldConfigSource, GridPos, Panel, RowPanel, VariableModel } from '@grafana/schema';
import type { AlignmentTypes, PromQLQuery, TimeSeriesList } from '@grafana/schema/dist/esm/raw/composable/googlecloudmonitoring/dataquery/x/GoogleCloudMonitoringDataQuery_types.gen';
import type { FieldConfig as HeatmapField, Options as HeatmapOptions } from '@grafana/schema/dist/esm/raw/composable/heatmap/panelcfg/x/HeatmapPanelCfg_types.gen';
import type { Options as StatOptions } from '@grafana/schema/dist/esm/raw/composable/stat/panelcfg/x/StatPanelCfg_types.gen';
import type { FieldConfig as LineField, Options as LineOptions } from '@grafana/schema/dist/esm/raw/composable/timeseries/panelcfg/x/TimeSeriesPanelCfg_types.gen';

interface Source {
  type: 'stackdriver';
  uid: string;
}

interface Asked {
  aliasBy?: string;
  datasource: Source;
  refId: string;
}
interface Named {
  description: string;
  id: number;
  title: string;
  gridPos: GridPos;
}
type Aligned = Omit<TimeSeriesList, 'perSeriesAligner'> & { perSeriesAligner: AlignmentTypes };
type ListTarget = Asked & { queryType: 'timeSeriesList'; timeSeriesList: Aligned };
type PromTarget = Asked & { queryType: 'promQL'; promQLQuery: PromQLQuery };

type Fields<Custom> = Omit<FieldConfigSource, 'defaults'> & {
  defaults: Omit<FieldConfigSource['defaults'], 'custom'> & { custom?: Custom };
};
type Drawn<Kind extends string, Options, Custom> = Omit<Panel, keyof Named | 'type' | 'options' | 'fieldConfig' | 'targets' | 'datasource'> &
  Named & {
    type: Kind;
    datasource: Source;
    fieldConfig: Fields<Custom>;
    options: Options;
    targets: Array<ListTarget | PromTarget>;
  };
interface NoCustom {}

export type DashboardFile = Omit<Dashboard, 'annotations' | 'panels' | 'templating' | 'title' | 'uid'> & {
  annotations: { list: [] };
  panels: Array<
    | RowPanel
    | Drawn<'timeseries', LineOptions, LineField>
    | Drawn<'stat', StatOptions, NoCustom>
    | Drawn<'heatmap', HeatmapOptions, HeatmapField>
  >;
  templating: { list: VariableModel[] };
  title: string;
  uid: string;
};
