export {
  type DropTotals,
  type EndpointTotals,
  GONE,
  KernelCounters,
} from './counters.ts'
export { hubbleReasonOf, KernelDropReasons } from './drop-reasons.ts'
export {
  type InterfaceCounts,
  type InterfaceEvent,
  Interfaces,
  type InterfacesOptions,
  type WatchedInterface,
} from './interfaces.ts'
export { KernelSymbols, kernelBase } from './kernel-symbols.ts'
export { KernelDatapath, type TakeoverReport } from './loader.ts'
export { DATAPATH_DEFAULTS, type DatapathOptions } from './options.ts'
export { purgeDatapath } from './purge.ts'
export { RingReader } from './ring.ts'
export type { SweepResult } from './sweep.ts'
