import { Disposables } from '../../base/lifetime.ts'
import { BpfLink, type BpfMap, type BpfProgram, mapRing } from '../../native/index.ts'
import { Attachments } from './attachments.ts'
import { KernelCounters } from './counters.ts'
import { type DatapathState, layoutsHash } from './datapath-state.ts'
import { KernelSymbols } from './kernel-symbols.ts'
import { writeL7Ports } from './l7-ports.ts'
import { type LoadedParts, loadParts, programsHash, type TakeoverReport, TRACEPOINTS } from './load-object.ts'
import type { NodeNamespace } from './node-namespace.ts'
import { DATAPATH_DEFAULTS, type DatapathOptions } from './options.ts'
import type { PinDirectory } from './pins.ts'
import { retireFlows } from './retire.ts'
import { RingReader } from './ring.ts'
import { Sweeper } from './sweep.ts'

/*
 * 1. prepare: read the object, learn of the kernel, open the pin directory and the note that the last agent left
 * 2. reuse: take over pinned maps whose definition is still the same; keep the others for step 6
 * 3. load: constants, sizes, verify
 * 4. pin what is new
 * 5. trace: attach tracepoint programs, or keep the ones that run already
 * 6. finishTakeover(), after the devices were attached: what the replaced maps still held is counted; stale pins go
 */

/**
 * The eBPF programs and maps of one agent. Made by open(); interfaces.ts attaches devices; everything that is pinned
 * lives on after dispose, so that the next agent goes on where this one stopped.
 */
export class KernelDatapath implements AsyncDisposable {
  readonly options: DatapathOptions
  readonly node: NodeNamespace
  readonly attachments: Attachments
  readonly ring: RingReader
  readonly counters: KernelCounters
  readonly sweeper: Sweeper
  readonly symbols: KernelSymbols
  readonly report: TakeoverReport
  readonly #maps: ReadonlyMap<string, BpfMap>
  readonly #programs: ReadonlyMap<string, BpfProgram>
  readonly #owned: Disposables
  readonly #pins: PinDirectory | undefined
  readonly #state: DatapathState
  readonly #retiring: Map<string, BpfMap>
  /** The ring among those, of which the former agent's programs may still write to. */
  #retiringRing: RingReader | undefined
  /** Resolves when finishTakeover() has counted what replaced maps held; at once when there are none. */
  readonly takenOver: Promise<void>
  #resolveTakeover = (): void => undefined
  /** Tracing links, while they are not pinned. */
  readonly #links: BpfLink[] = []

  private constructor(parts: LoadedParts) {
    this.options = parts.options
    this.node = parts.node
    this.#owned = parts.owned
    this.#pins = parts.pins
    this.#state = parts.state
    this.#maps = parts.maps
    this.#programs = parts.programs
    this.#retiring = parts.retiring
    this.report = parts.report
    this.takenOver = new Promise((resolve) => {
      this.#resolveTakeover = resolve
    })
    const oldRing = parts.retiring.get('events')
    if (oldRing) this.#retiringRing = new RingReader(mapRing(oldRing))
    if (parts.retiring.size === 0) this.#resolveTakeover()
    this.symbols = new KernelSymbols(parts.base)
    this.ring = new RingReader(mapRing(this.map('events')))
    this.counters = new KernelCounters({
      ledger: this.map('ledger'),
      endpointCounters: this.map('endpoint_counters'),
      dropCounters: this.map('drop_counters'),
      state: parts.state,
    })
    this.attachments = parts.owned.use(
      new Attachments({
        mode: parts.mode,
        instance: parts.options.instance,
        node: parts.node,
        pins: parts.pins,
        program: (name) => this.program(name),
      }),
    )
    this.sweeper = new Sweeper(parts.sweepProgram, parts.options)
    writeL7Ports(this.map('l7_ports'), parts.options)
  }

  /**
   * Loads, pins and attaches the tracepoint programs. Devices are not attached yet.
   *
   * @throws SluiceError SLUICE_KERNEL_LOAD with the verifier's words, SLUICE_PIN_DIR, SLUICE_KERNEL_UNSUPPORTED
   */
  static open(given: Partial<DatapathOptions> = {}): KernelDatapath {
    const options: DatapathOptions = { ...DATAPATH_DEFAULTS, ...given }
    const owned = new Disposables()
    try {
      const datapath = new KernelDatapath(loadParts(options, owned))
      datapath.#trace()
      return datapath
    } catch (error) {
      owned[Symbol.dispose]()
      throw error
    }
  }

  /** Loads and verifies as open() would, attaches and pins nothing, and leaves nothing. @throws as open() */
  static verify(given: Partial<DatapathOptions> = {}): TakeoverReport {
    using owned = new Disposables()
    const parts = loadParts({ ...DATAPATH_DEFAULTS, ...given, pinPath: undefined }, owned)
    parts.sweepProgram[Symbol.dispose]()
    return parts.report
  }

  /** @throws Error when the object has none of this name */
  map(name: string): BpfMap {
    const map = this.#maps.get(name)
    if (!map) throw new Error(`There is no map "${name}" in the bpf object`)
    return map
  }

  /** @throws Error when the object has none of this name, or the kernel could not take it */
  program(name: string): BpfProgram {
    const program = this.#programs.get(name)
    if (!program) throw new Error(`There is no program "${name}" loaded`)
    return program
  }

  /** Starts the sweep, every second, and reads the kernel's symbols now rather than when the first drop is shown. */
  start(): void {
    this.symbols.load()
    this.sweeper.start()
  }

  /**
   * To be called once the devices are attached: from now on nobody writes to the maps that were replaced. Counts what
   * they held, and removes the pinned links of devices that are not among these.
   */
  finishTakeover(ifindexes: ReadonlySet<number>): void {
    const stale = this.attachments.sweep(ifindexes)
    if (stale > 0) this.options.logger.info({ links: stale }, 'removed pinned links of devices that are gone')
    const flows = this.#retiring.get('flows')
    const records = this.#retiringRing?.waitingRecords() ?? 0
    if (flows) this.#state.addRetired({ ...retireFlows(flows), records: 0 })
    if (records > 0) this.#state.addRetired({ packets: 0, bytes: 0, flows: 0, records })
    this.#dropRetiring()
  }

  /** Records that were submitted and that nobody has read: in the ring, and in rings that were replaced. */
  unreadRecords(): number {
    return this.ring.waitingRecords() + (this.#retiringRing?.waitingRecords() ?? 0) + this.counters.unreadRecords
  }

  #dropRetiring(): void {
    for (const map of this.#retiring.values()) map[Symbol.dispose]()
    this.#retiring.clear()
    this.#retiringRing = undefined
    this.#resolveTakeover()
  }

  /** Takes everything out of the kernel: programs off the devices, pins and counters gone. Ends in dispose. */
  async remove(): Promise<void> {
    await this.attachments.close()
    const key = new Uint8Array(4)
    const devices: number[] = []
    for (let more = this.map('endpoints').nextKey(null, key); more; more = this.map('endpoints').nextKey(key, key)) {
      devices.push(new DataView(key.buffer).getUint32(0, true))
    }
    for (const ifindex of devices) this.attachments.detach(ifindex)
    if (this.#pins && this.options.pinPath !== undefined) this.#pins.removeAll(this.options.pinPath)
    await this[Symbol.asyncDispose]()
  }

  /** Lets go of everything; what is pinned goes on. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.attachments.close()
    await this.sweeper[Symbol.asyncDispose]()
    for (const link of this.#links.splice(0)) link[Symbol.dispose]()
    this.#dropRetiring()
    this.#owned[Symbol.dispose]()
  }

  /**
   * A tracing link can't change its program. The running one stays when it is the same, as after a restart; else the new
   * one comes before the old one goes, within 0.3 ms: a drop in that time is counted twice. The other way round the
   * kernel waits out a grace period before it attaches to the tracepoint again: 15 to 20 ms in which drops are missed.
   */
  #trace(): void {
    const hash = programsHash(this.options, this.symbols.base, this.node.cookie)
    const same = this.#state.programs === hash && this.report.replaced.length === 0
    for (const name of Object.keys(TRACEPOINTS)) {
      const program = this.#programs.get(name)
      const pin = `trace_${name}`
      if (same && program) {
        using running = this.#pins?.link(pin)
        if (running) continue
      }
      if (!program) {
        this.#pins?.removeLink(pin)
        continue
      }
      const link = BpfLink.attachTracing(program)
      if (this.#pins) {
        using _ = link
        this.#pins.pinLink(pin, link)
      } else {
        this.#links.push(link)
      }
    }
    this.#state.write({ layouts: layoutsHash(), programs: hash, netnsCookie: this.node.cookie })
  }
}
