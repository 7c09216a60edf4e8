import { randomInt } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { errorText, SluiceError } from '../../base/errors.ts'
import type { Disposables } from '../../base/lifetime.ts'
import { FILTER_STATE } from '../../model/layouts.gen.ts'
import { type BpfMap, BpfObject, type BpfProgram, hasTracepoint, supportsTcx } from '../../native/index.ts'
import { DatapathState, hash64, layoutsHash, STATE_MAP } from './datapath-state.ts'
import { kernelBase } from './kernel-symbols.ts'
import { NodeNamespace } from './node-namespace.ts'
import { constantsOf, type DatapathOptions, defaultObjectPath, encodeConstant, mapSizesOf } from './options.ts'
import { PinDirectory } from './pins.ts'

/** Tracepoint programs and the tracepoint of each. */
export const TRACEPOINTS: Readonly<Record<string, string>> = {
  packet_dropped: 'kfree_skb',
  segment_retransmitted: 'tcp_retransmit_skb',
  tcp_state_changed: 'inet_sock_set_state',
}

/** Maps that share the numbering of slots and devices: when one is made anew, all are. */
const SLOT_MAPS = ['flows', 'endpoints', 'netns', 'endpoint_counters', 'drop_counters']
/** Maps that make up the filters in force: with one of them empty the others would let nothing through. */
const FILTER_MAPS = [
  'filter_state',
  'filter_rules',
  'filter_classes',
  'filter_ports',
  'filter_prefixes',
  'filter_lengths',
  'filter_match_ids',
  'filter_matches',
  'filter_counts',
  'filter_next',
  'addresses',
  'networks',
]
/** Of no use to a next agent. */
const UNPINNED: ReadonlySet<string> = new Set(['scratch', 'l7_tokens'])

/** What happened to a former agent's maps. */
export interface TakeoverReport {
  /** Went on being used. */
  readonly reused: readonly string[]
  /** Were there, but of another size or layout. */
  readonly replaced: readonly string[]
  /** Tracepoints that this kernel does not have. */
  readonly missingTracepoints: readonly string[]
}

/** What loadParts() made; all of it is owned by `owned`, but for sweepProgram and retiring. */
export interface LoadedParts {
  readonly options: DatapathOptions
  readonly owned: Disposables
  readonly node: NodeNamespace
  readonly pins: PinDirectory | undefined
  readonly state: DatapathState
  readonly maps: ReadonlyMap<string, BpfMap>
  readonly programs: ReadonlyMap<string, BpfProgram>
  readonly sweepProgram: BpfProgram
  readonly retiring: Map<string, BpfMap>
  readonly report: TakeoverReport
  readonly base: bigint
  readonly mode: 'tcx' | 'clsact'
}

/**
 * Steps 1 to 4 of loader.ts.
 *
 * @throws SluiceError SLUICE_KERNEL_LOAD, SLUICE_KERNEL_UNSUPPORTED, SLUICE_PIN_DIR, SLUICE_KERNEL_ATTACH
 */
export function loadParts(options: DatapathOptions, owned: Disposables): LoadedParts {
  try {
    return partsOf(options, owned)
  } catch (cause) {
    if (SluiceError.is(cause)) throw cause
    // What the kernel refuses on the way, a map without CAP_BPF first of all.
    throw new SluiceError('SLUICE_KERNEL_LOAD', errorText(cause), { cause })
  }
}

function partsOf(options: DatapathOptions, owned: Disposables): LoadedParts {
  const node = owned.use(new NodeNamespace(options.netns))
  const pins =
    options.pinPath === undefined ? undefined : owned.use(PinDirectory.open(options.pinPath, options.instance))
  const base = kernelBase()
  using object = openObject(options)
  const missing = configure(object, options, { kernelBase: base, netnsCookie: node.cookie })
  const { state, reused, retiring } = takeOver(object, pins, node, owned)
  load(object)
  const maps = takeMaps(object, owned)
  const programs = takePrograms(object, missing, owned)
  if (reused.has('flows') && !reused.has('filter_state'))
    renumber(maps.get('filter_state')!, retiring.get('filter_state'))
  if (pins) pinNew(pins, state, maps, reused)
  return {
    options,
    owned,
    node,
    pins,
    state,
    maps,
    programs,
    sweepProgram: object.program('flow_sweep'),
    retiring,
    report: { reused: [...reused], replaced: [...retiring.keys()], missingTracepoints: missing },
    base,
    mode: chooseMode(options, programs),
  }
}

function openObject(options: DatapathOptions): BpfObject {
  const path = options.objectPath ?? defaultObjectPath()
  try {
    return BpfObject.open(path)
  } catch (cause) {
    if (SluiceError.is(cause)) throw cause
    throw new SluiceError('SLUICE_KERNEL_LOAD', errorText(cause), {
      cause,
      remedy: 'Build the eBPF object with `npm run build`',
    })
  }
}

/** Sets constants and sizes. @returns the tracepoints that the kernel lacks; their programs are left out */
function configure(
  object: BpfObject,
  options: DatapathOptions,
  facts: { kernelBase: bigint; netnsCookie: bigint },
): string[] {
  const values = constantsOf(options, facts)
  for (const { name, size } of object.constants()) {
    const value = values[name]
    if (value !== undefined) object.setConstant(name, encodeConstant(value, size))
  }
  for (const [map, entries] of Object.entries(mapSizesOf(options))) object.setMaxEntries(map, entries)
  const missing: string[] = []
  for (const [program, tracepoint] of Object.entries(TRACEPOINTS)) {
    if (tracepointExists(tracepoint)) continue
    object.setAutoload(program, false)
    missing.push(tracepoint)
  }
  return missing
}

function tracepointExists(name: string): boolean {
  try {
    return hasTracepoint(name)
  } catch (cause) {
    throw new SluiceError('SLUICE_KERNEL_UNSUPPORTED', errorText(cause), {
      cause,
      remedy: 'The kernel needs BTF: CONFIG_DEBUG_INFO_BTF=y, /sys/kernel/btf/vmlinux',
    })
  }
}

/** Hands pinned maps of the same definition to the object. */
function takeOver(
  object: BpfObject,
  pins: PinDirectory | undefined,
  node: NodeNamespace,
  owned: Disposables,
): { state: DatapathState; reused: Set<string>; retiring: Map<string, BpfMap> } {
  const reused = new Set<string>()
  const retiring = new Map<string, BpfMap>()
  const found = pins?.map(STATE_MAP)
  const state = owned.use(new DatapathState(found && DatapathState.fits(found) ? found : undefined))
  if (!pins) return { state, reused, retiring }
  if (state.netnsCookie !== node.cookie) pins.removeLinks() // other devices: their programs would count into our maps
  if (state.netnsCookie !== node.cookie || state.layouts !== layoutsHash()) {
    pins.removeMaps()
    state[Symbol.dispose]()
    return { state: owned.use(new DatapathState(undefined)), reused, retiring }
  }
  const pinned = new Map<string, BpfMap>()
  for (const wanted of object.maps()) {
    if (wanted.internal || UNPINNED.has(wanted.name)) continue
    const map = pins.map(wanted.name)
    if (!map) continue
    const { type, keySize, valueSize, maxEntries, flags } = map.info
    const fits =
      type === wanted.type &&
      keySize === wanted.keySize &&
      valueSize === wanted.valueSize &&
      maxEntries === wanted.maxEntries &&
      flags === wanted.flags
    if (fits) pinned.set(wanted.name, map)
    else retiring.set(wanted.name, map)
  }
  for (const group of [SLOT_MAPS, FILTER_MAPS]) {
    if (group.every((name) => pinned.has(name))) continue
    for (const name of group) {
      const map = pinned.get(name)
      if (map) retiring.set(name, map)
      pinned.delete(name)
    }
  }
  for (const [name, map] of pinned) {
    object.reuseMap(name, map)
    map[Symbol.dispose]()
    reused.add(name)
  }
  return { state, reused, retiring }
}

function load(object: BpfObject): void {
  try {
    object.load()
  } catch (cause) {
    throw new SluiceError('SLUICE_KERNEL_LOAD', errorText(cause), { cause })
  }
}

function takeMaps(object: BpfObject, owned: Disposables): Map<string, BpfMap> {
  const maps = new Map<string, BpfMap>()
  for (const { name, internal } of object.maps()) if (!internal) maps.set(name, owned.use(object.map(name)))
  return maps
}

function takePrograms(object: BpfObject, missing: readonly string[], owned: Disposables): Map<string, BpfProgram> {
  const programs = new Map<string, BpfProgram>()
  for (const { name } of object.programs()) {
    const tracepoint = TRACEPOINTS[name]
    if (name === 'flow_sweep' || (tracepoint !== undefined && missing.includes(tracepoint))) continue
    programs.set(name, owned.use(object.program(name)))
  }
  return programs
}

/**
 * Flows remember what rules of the former agent's numbers said of them: rules of new tables get numbers far from those
 * (lib/evaluate.h keeps 18 bits), until the sweep has taken the old ones out.
 */
function renumber(filterState: BpfMap, former: BpfMap | undefined): void {
  const value = new DataView(new ArrayBuffer(FILTER_STATE.SIZE))
  const bytes = new Uint8Array(value.buffer)
  const at = FILTER_STATE.generation
  if (!former?.lookup(new Uint8Array(4), bytes)) value.setUint32(at, randomInt(2 ** 32 - 1), true)
  value.setUint32(at, (value.getUint32(at, true) + 2 ** 17) >>> 0, true)
  value.setUint32(FILTER_STATE.enabled, 0, true)
  filterState.update(new Uint8Array(4), bytes)
}

function pinNew(
  pins: PinDirectory,
  state: DatapathState,
  maps: ReadonlyMap<string, BpfMap>,
  reused: ReadonlySet<string>,
): void {
  try {
    for (const [name, map] of maps) if (!reused.has(name) && !UNPINNED.has(name)) pins.pinMap(name, map)
    pins.pinMap(STATE_MAP, state.map)
  } catch (cause) {
    throw new SluiceError('SLUICE_PIN_DIR', errorText(cause), { cause })
  }
}

function chooseMode(options: DatapathOptions, programs: ReadonlyMap<string, BpfProgram>): 'tcx' | 'clsact' {
  if (options.attach !== 'auto') return options.attach
  return supportsTcx(programs.get('pod_egress')!) ? 'tcx' : 'clsact'
}

/** What the running programs would have to share with ours to be left as they are. */
export function programsHash(options: DatapathOptions, base: bigint, netnsCookie: bigint): bigint {
  const constants = Object.entries(constantsOf(options, { kernelBase: base, netnsCookie }))
  return hash64(
    readFileSync(options.objectPath ?? defaultObjectPath()),
    constants.map(([name, value]) => `${name}=${value}`).join(),
  )
}
