/**
 * The kernel's handles: the only folder that holds them. Everything here is synchronous and throws an Error with the
 * kernel's `code` (`EPERM`, ...); errnoOf() reads it.
 */
export {
  type AddressInfo,
  errnoOf,
  type LinkFacts,
  type LinkInfo,
  type MapDefinition,
  type MapInfo,
  type ProgramInfo,
} from './addon.ts'
export { Descriptor, lockDirectory } from './descriptor.ts'
export * from './kernel.ts'
export {
  attachClsact,
  BpfLink,
  type ClsactSlot,
  type Direction,
  detachClsact,
  ensureClsact,
  queryClsact,
  removeEmptyClsact,
  supportsTcx,
} from './link.ts'
export {
  BatchCursor,
  BpfMap,
  type MapSpec,
  MapType,
  mapRing,
  possibleCpus,
  type RingPages,
  UpdateFlag,
} from './map.ts'
export { defaultRouteDevices, LinkFlag, listAddresses, listLinks, watchLinks } from './netlink.ts'
export { currentNetnsCookie, Netns, openNetns } from './netns.ts'
export { BpfObject } from './object.ts'
export { BpfProgram, enableStats, gracePeriod, type TestRunOptions, type TestRunResult } from './program.ts'
