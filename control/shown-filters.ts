import { finishSliced } from '../base/steps.ts'
import {
  dynamicMetricsText,
  type FiltersInForce,
  flowLogsText,
  type HubbleMetric,
} from '../filters/resources/hubble-config.ts'
import { type ConfigMaps, DYNAMIC_METRICS, FLOW_LOGS, type ShownText } from './config-maps.ts'

/** Who knows the filters in force: FilterControl. */
export interface FiltersKeeper {
  filtersInForce(): FiltersInForce
  /** Called when others came into force. */
  onApplied(listener: () => void): Disposable
}

export interface ShownFiltersOptions {
  readonly control: FiltersKeeper
  readonly maps: Pick<ConfigMaps, 'show'>
  /** Metric handlers that are on, with their options. */
  metrics(): readonly HubbleMetric[]
  /** Of the log. */
  readonly logPath: string
  /** Where the filters of metrics are shown; DYNAMIC_METRICS unless given. */
  readonly metricsAt?: ShownText
  /** Where the filters of the log are shown; FLOW_LOGS unless given. */
  readonly logAt?: ShownText
}

const HEADER = '# The filters in force, for people to read: made by Sluice, which puts changes back.\n'

/** Shows the filters in force in ConfigMaps, in the form of Hubble's files, and again whenever others are. */
export function showFilters(options: ShownFiltersOptions): Disposable {
  const { control, maps, metrics, logPath, metricsAt = DYNAMIC_METRICS, logAt = FLOW_LOGS } = options
  let shown: readonly unknown[] = []
  const show = (): void => {
    const inForce = control.filtersInForce()
    const enabled = metrics()
    const { settings, dynamic, resources } = inForce
    // Live queries come and go many times a minute, and are no part of it.
    const now = [settings, dynamic, JSON.stringify(enabled), ...resources]
    if (now.length === shown.length && now.every((part, i) => part === shown[i])) return
    shown = now
    maps.show(metricsAt, async () => HEADER + (await finishSliced(dynamicMetricsText(enabled, inForce))))
    maps.show(logAt, async () => HEADER + (await finishSliced(flowLogsText(logPath, inForce))))
  }
  show()
  return control.onApplied(show)
}
