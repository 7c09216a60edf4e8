import { existsSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { errorText, SluiceError } from '../base/errors.ts'

/** An open bpf object of libbpf. */
export type ObjectHandle = { readonly brand: 'bpf-object' }
/** A subscription to link events. */
export type WatchHandle = { readonly brand: 'netlink-watch' }

/** A device, as rtnetlink tells it. */
export interface LinkInfo {
  /** `removed` only in events. */
  readonly event: 'present' | 'removed'
  readonly ifindex: number
  readonly name: string
  /** `veth`, `bridge`, `vlan`, ...; empty for hardware and loopback. */
  readonly kind: string
  /** Ifindex of the peer (veth) or of the device below (vlan), in its own namespace; 0 = none. */
  readonly iflink: number
  /** This namespace's number for the namespace that iflink is in; -1 = the same one. */
  readonly linkNetnsId: number
  /** Ifindex of the bridge or bond that it belongs to, 0 = none. */
  readonly master: number
  /** IFF_* */
  readonly flags: number
  readonly mtu: number
  readonly mac: Uint8Array
}

/** An address of a device. */
export interface AddressInfo {
  readonly ifindex: number
  readonly family: 4 | 6
  readonly prefixLength: number
  /** rt_scope_t: 0 global, 253 link, 254 host. */
  readonly scope: number
  /** 4 or 16 bytes in network order. */
  readonly address: Uint8Array
}

export interface MapInfo {
  readonly id: number
  readonly type: number
  readonly keySize: number
  readonly valueSize: number
  readonly maxEntries: number
  readonly flags: number
  /** At most 15 characters. */
  readonly name: string
}

/** A map as an object file declares it. `internal` ones hold constants and global variables. */
export interface MapDefinition extends Omit<MapInfo, 'id'> {
  readonly internal: boolean
}

export interface ProgramInfo {
  readonly id: number
  readonly type: number
  readonly name: string
  /** Hash of the instructions before relocation. */
  readonly tag: Uint8Array
  /** Nanoseconds in all runs while statistics were on. */
  readonly runTimeNs: bigint
  readonly runCount: bigint
  /** Instructions that the verifier walked. */
  readonly verifiedInstructions: number
}

export interface LinkFacts {
  readonly id: number
  readonly type: number
  readonly programId: number
  /** Of a tcx link; 0 once its device is gone. */
  readonly ifindex: number
}

/** The functions of native/src, one to one; descriptors are plain numbers that the caller owns. */
export interface Addon {
  objectOpen(path: string): ObjectHandle
  objectClose(object: ObjectHandle): void
  objectMaps(object: ObjectHandle): MapDefinition[]
  objectPrograms(object: ObjectHandle): { name: string; section: string; type: number }[]
  objectConstants(object: ObjectHandle): { name: string; size: number }[]
  objectSetMaxEntries(object: ObjectHandle, map: string, entries: number): void
  objectReuseMap(object: ObjectHandle, map: string, fd: number): void
  objectSetConstant(object: ObjectHandle, name: string, value: Uint8Array): void
  objectSetAutoload(object: ObjectHandle, program: string, load: boolean): void
  objectLoad(object: ObjectHandle): void
  objectMapFd(object: ObjectHandle, map: string): number
  objectProgramFd(object: ObjectHandle, program: string): number
  programTestRun(
    fd: number,
    dataIn: Uint8Array | null,
    dataOut: Uint8Array | null,
    ctxIn: Uint8Array | null,
    ctxOut: Uint8Array | null,
    repeat: number,
  ): [retval: number, dataSize: number, ctxSize: number, durationNs: number]
  programRunAsync(fd: number, ctx: Uint8Array): Promise<number>
  gracePeriod(): Promise<number>
  programInfo(fd: number): ProgramInfo
  statsEnable(): number
  linkCreateTcx(program: number, ifindex: number, egress: boolean): number
  linkCreateTcxAsync(program: number, ifindex: number, egress: boolean, netns: number): Promise<number>
  tcxSupported(program: number): boolean
  linkCreateTracing(program: number): number
  linkCreateRawTracepoint(program: number, name: string): number
  linkUpdate(link: number, program: number): void
  linkDetach(link: number): void
  linkInfo(link: number): LinkFacts
  pin(fd: number, path: string): void
  openPinned(path: string): number
  lockDirectory(path: string): number
  clsactCreate(ifindex: number): boolean
  clsactDestroy(ifindex: number): void
  clsactAttach(program: number, ifindex: number, egress: boolean, handle: number, priority: number): void
  clsactQuery(ifindex: number, egress: boolean, handle: number, priority: number): number
  clsactDetach(ifindex: number, egress: boolean, handle: number, priority: number): boolean
  mapCreate(type: number, name: string, keySize: number, valueSize: number, maxEntries: number, flags: number): number
  mapInfo(fd: number): MapInfo
  mapLookup(fd: number, key: Uint8Array, value: Uint8Array): boolean
  mapUpdate(fd: number, key: Uint8Array, value: Uint8Array, flags: number): void
  mapDelete(fd: number, key: Uint8Array): boolean
  mapNextKey(fd: number, key: Uint8Array | null, next: Uint8Array): boolean
  mapBatch(
    fd: number,
    cursorIn: Uint8Array | null,
    cursorOut: Uint8Array,
    keys: Uint8Array,
    values: Uint8Array,
    count: number,
    remove: boolean,
  ): number
  mapUpdateBatch(fd: number, keys: Uint8Array, values: Uint8Array, count: number): number
  mapDeleteBatch(fd: number, keys: Uint8Array, keySize: number, count: number): number
  ringMap(fd: number, size: number): [consumer: ArrayBuffer, producer: ArrayBuffer, data: ArrayBuffer]
  netlinkLinks(): LinkInfo[]
  netlinkAddresses(): AddressInfo[]
  netlinkDefaultDevices(): number[]
  netlinkFilters(ifindex: number): number[]
  netlinkNetnsId(fd: number): number
  netlinkWatch(callback: (links: LinkInfo[] | null) => void): WatchHandle
  netlinkUnwatch(watch: WatchHandle): void
  netnsRun<T>(fd: number, callback: () => T): T
  netnsCookie(): bigint
  kernelEnum(name: string): [name: string, value: number][] | null
  kernelHasBtfType(kind: 'func' | 'struct' | 'typedef', name: string): boolean
  kernelProbeProgramType(type: number): boolean
  kernelProbeMapType(type: number): boolean
  possibleCpus(): number
  clockOffset(out: BigInt64Array): void
  clockNs(clock: number): bigint
}

const FILE = 'native/build/Release/sluice_native.node'

/** The addon's file: this module runs from <root>/native/ and from <root>/dist/native/. */
function findAddon(): string {
  const here = dirname(fileURLToPath(import.meta.url))
  for (const root of [join(here, '..'), join(here, '../..')]) {
    const path = join(root, FILE)
    if (existsSync(path)) return path
  }
  throw new SluiceError('SLUICE_NATIVE_LOAD', `Cannot find the native addon: "${FILE}" is not there`)
}

let loaded: Addon | undefined

/**
 * The addon, loaded at the first call.
 * @throws SluiceError SLUICE_NATIVE_LOAD when it is not built, or libbpf is missing
 */
export function addon(): Addon {
  if (loaded) return loaded
  const path = findAddon()
  try {
    // What native/src exports is what Addon says; native/native.kernel.test.ts compares the names.
    loaded = createRequire(import.meta.url)(path) as Addon
  } catch (cause) {
    throw new SluiceError('SLUICE_NATIVE_LOAD', `Cannot load the native addon "${path}": ${errorText(cause)}`, {
      cause,
    })
  }
  return loaded
}

/** The kernel's name for an error thrown by the addon: `ENOENT`, `EPERM`, ...; undefined for any other error. */
export function errnoOf(error: unknown): string | undefined {
  if (!(error instanceof Error) || !('errno' in error) || !('code' in error)) return undefined
  return typeof error.code === 'string' ? error.code : undefined
}
