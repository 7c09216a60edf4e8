import {
  attachClsact,
  BpfLink,
  type BpfProgram,
  type ClsactSlot,
  type Direction,
  detachClsact,
  ensureClsact,
  errnoOf,
  queryClsact,
  removeEmptyClsact,
} from '../../native/index.ts'
import type { NodeNamespace } from './node-namespace.ts'
import type { PinDirectory } from './pins.ts'

/** Which programs a device gets: a pod's host side, or a device towards other nodes with or without a link header. */
export type HookKind = 'pod' | 'uplink' | 'uplink-l3'

/** The program of each hook kind and direction; directions as the device has them. */
export const PROGRAM_OF: Readonly<Record<HookKind, Readonly<Record<Direction, string>>>> = {
  pod: { ingress: 'pod_egress', egress: 'pod_ingress' },
  uplink: { ingress: 'uplink_ingress', egress: 'uplink_egress' },
  'uplink-l3': { ingress: 'uplink_ingress_l3', egress: 'uplink_egress_l3' },
}

const DIRECTIONS: readonly Direction[] = ['ingress', 'egress']

/** Before the priorities that other software starts with; within one priority the newest filter runs first. */
const CLSACT_PRIORITY = 1
/** The upper half says whose a handle is, the lower which instance's. */
const CLSACT_HANDLE = 0x51c0_0000

export interface AttachmentOptions {
  readonly mode: 'tcx' | 'clsact'
  /** Names the clsact filters of one agent apart from another's. */
  readonly instance: string
  readonly node: NodeNamespace
  /** undefined: links end with the process */
  readonly pins: PinDirectory | undefined
  readonly program: (name: string) => BpfProgram
}

/**
 * Our programs on the node's devices, beside foreign ones and never instead of them. A link that a former agent left
 * pinned gets the new program between two packets; a clsact filter is replaced in place.
 */
export class Attachments implements Disposable {
  readonly #options: AttachmentOptions
  readonly #slot: ClsactSlot
  /** By pin name: tcx links that are not pinned. */
  readonly #held = new Map<string, BpfLink>()
  /** Devices whose clsact qdisc is our doing. */
  readonly #ownQdiscs = new Set<number>()
  /** Settles when the attachment that is being made, and those before it, are. */
  #turn: Promise<void> = Promise.resolve()
  #closed = false

  constructor(options: AttachmentOptions) {
    this.#options = options
    this.#slot = { handle: clsactHandle(options.instance), priority: CLSACT_PRIORITY }
  }

  get mode(): 'tcx' | 'clsact' {
    return this.#options.mode
  }

  /**
   * Attaches in both directions. By tcx that takes the kernel 10 to 20 ms each, and it does one at a time; it is done on
   * another thread, and by one of them only, so that files and names can still be read meanwhile.
   *
   * @throws Error ENODEV when the device has gone
   */
  async attach(ifindex: number, kind: HookKind): Promise<void> {
    for (const direction of DIRECTIONS) {
      const program = this.#options.program(PROGRAM_OF[kind][direction])
      if (this.#options.mode === 'tcx') await this.#attachTcx(program, ifindex, direction)
      else this.#options.node.run(() => this.#attachClsact(program, ifindex, direction))
    }
  }

  /** Ends when nothing is being attached; what is still waiting its turn is refused. */
  async close(): Promise<void> {
    this.#closed = true
    await this.#turn
  }

  /** Takes our programs off a device that is still there. */
  detach(ifindex: number): void {
    this.forget(ifindex)
    if (this.#options.mode !== 'clsact') return
    this.#options.node.run(() => detachFilters(ifindex, this.#slot, this.#ownQdiscs.delete(ifindex)))
  }

  /** The device is gone, and the attachments with it: removes the pins. */
  forget(ifindex: number): void {
    for (const direction of DIRECTIONS) {
      const name = pinName(ifindex, direction)
      this.#held.get(name)?.[Symbol.dispose]()
      this.#held.delete(name)
      this.#options.pins?.removeLink(name)
    }
  }

  /** Whether our programs are on this very device, in both directions; a tcx link loses its device when that goes. */
  standing(ifindex: number): boolean {
    if (this.#options.mode === 'clsact') {
      return this.#options.node.run(() =>
        DIRECTIONS.every((direction) => queryClsact(ifindex, direction, this.#slot) !== 0),
      )
    }
    return DIRECTIONS.every((direction) => {
      const name = pinName(ifindex, direction)
      const held = this.#held.get(name)
      if (held) return held.info().ifindex === ifindex
      using pinned = this.#options.pins?.link(name)
      return pinned?.info().ifindex === ifindex
    })
  }

  /** Removes pinned links of devices other than these: gone ones, and ones that are no longer watched. @returns how many */
  sweep(keep: ReadonlySet<number>): number {
    let removed = 0
    for (const name of this.#options.pins?.linkNames() ?? []) {
      const ifindex = ifindexOf(name)
      if (ifindex === undefined || (this.#options.mode === 'tcx' && keep.has(ifindex))) continue
      this.#options.pins?.removeLink(name)
      removed++
    }
    return removed
  }

  [Symbol.dispose](): void {
    for (const link of this.#held.values()) link[Symbol.dispose]()
    this.#held.clear()
  }

  async #attachTcx(program: BpfProgram, ifindex: number, direction: Direction): Promise<void> {
    const name = pinName(ifindex, direction)
    const { pins, node } = this.#options
    {
      using pinned = pins?.link(name)
      if (pinned?.info().ifindex === ifindex) {
        pinned.update(program)
        return
      }
    }
    const link = await this.#inTurn(() => BpfLink.attachTcxLater(program, ifindex, direction, node.netns))
    if (pins) {
      using _ = link
      pins.pinLink(name, link)
      return
    }
    this.#held.get(name)?.[Symbol.dispose]()
    this.#held.set(name, link)
  }

  #inTurn<T>(action: () => Promise<T>): Promise<T> {
    const result = this.#turn.then(() => {
      if (this.#closed) throw new Error('Cannot attach: the datapath is being closed')
      return action()
    })
    this.#turn = result.then(
      () => undefined,
      () => undefined,
    )
    return result
  }

  #attachClsact(program: BpfProgram, ifindex: number, direction: Direction): void {
    if (ensureClsact(ifindex)) this.#ownQdiscs.add(ifindex)
    attachClsact(program, ifindex, direction, this.#slot)
  }
}

/** Takes the clsact filters of an instance off devices; tcx links need no more than their pins removed. */
export function detachEverywhere(ifindexes: readonly number[], instance: string, node: NodeNamespace): void {
  const slot = { handle: clsactHandle(instance), priority: CLSACT_PRIORITY }
  node.run(() => {
    for (const ifindex of ifindexes) detachFilters(ifindex, slot, false)
  })
}

/** @param ownQdisc whether the qdisc goes too, unless others have filters on it */
function detachFilters(ifindex: number, slot: ClsactSlot, ownQdisc: boolean): void {
  try {
    for (const direction of DIRECTIONS) detachClsact(ifindex, direction, slot)
    if (ownQdisc) removeEmptyClsact(ifindex)
  } catch (error) {
    if (errnoOf(error) !== 'ENODEV') throw error
  }
}

function pinName(ifindex: number, direction: Direction): string {
  return `tcx_${ifindex}_${direction}`
}

function ifindexOf(name: string): number | undefined {
  const digits = /^tcx_(\d+)_(?:ingress|egress)$/.exec(name)?.[1]
  return digits === undefined ? undefined : Number(digits)
}

function clsactHandle(instance: string): number {
  let hash = 0
  for (const char of instance) hash = (Math.imul(hash, 31) + char.charCodeAt(0)) & 0xffff
  return CLSACT_HANDLE + Math.max(1, hash)
}
