export {
  type DropTotals,
  type EndpointTotals,
  GONE,
  KernelCounters,
} from './counters.ts'
export { hubbleReasonAt, hubbleReasonOf, KernelDropReasons } from './drop-reasons.ts'
export {
  type DeviceSubject,
  encodeSubject,
  type FilterForce,
  FilterMaps,
  type FilterSubject,
  type KernelNetwork,
} from './filter-maps.ts'
export type { MatchReading } from './filter-matches.ts'
export type { KernelPrefix } from './filter-prefixes.ts'
export type { FilterSet } from './filter-tables.ts'
export type { InterfaceCounts, InterfaceEvent, InterfacesOptions, WatchedInterface } from './interface-types.ts'
export { Interfaces } from './interfaces.ts'
export { KernelSymbols, kernelBase } from './kernel-symbols.ts'
export type { TakeoverReport } from './load-object.ts'
export { KernelDatapath } from './loader.ts'
export { DATAPATH_DEFAULTS, type DatapathOptions } from './options.ts'
export { purgeDatapath } from './purge.ts'
export { RingReader } from './ring.ts'
export type { SweepResult } from './sweep.ts'
