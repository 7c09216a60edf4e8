import { addon, type LinkFacts } from './addon.ts'
import { Descriptor } from './descriptor.ts'
import type { Netns } from './netns.ts'
import type { BpfProgram } from './program.ts'

/** `ingress` of the device as the node sees it: what comes from the pod, on the host side of a veth. */
export type Direction = 'ingress' | 'egress'

/** A program's attachment. Lives as long as a descriptor or a pin refers to it. */
export class BpfLink extends Descriptor {
  static openPinned(path: string): BpfLink {
    return new BpfLink(addon().openPinned(path))
  }

  /**
   * At the head of the device's chain, so that nothing is dropped or changed before we see it. In the network namespace
   * of the calling thread.
   * @throws Error ENODEV when the device is gone, EINVAL on a kernel without tcx
   */
  static attachTcx(program: BpfProgram, ifindex: number, direction: Direction): BpfLink {
    return new BpfLink(addon().linkCreateTcx(program.fd, ifindex, direction === 'egress'))
  }

  /**
   * attachTcx() on another thread: the kernel waits out a grace period, 10 to 20 ms, for each attachment.
   *
   * @param netns where the device is, undefined = in the calling thread's namespace; open until then, as the program is
   */
  static async attachTcxLater(
    program: BpfProgram,
    ifindex: number,
    direction: Direction,
    netns?: Netns,
  ): Promise<BpfLink> {
    return new BpfLink(await addon().linkCreateTcxAsync(program.fd, ifindex, direction === 'egress', netns?.fd ?? -1))
  }

  /** A program of SEC("tp_btf/..."). */
  static attachTracing(program: BpfProgram): BpfLink {
    return new BpfLink(addon().linkCreateTracing(program.fd))
  }

  static attachRawTracepoint(program: BpfProgram, name: string): BpfLink {
    return new BpfLink(addon().linkCreateRawTracepoint(program.fd, name))
  }

  info(): LinkFacts {
    return addon().linkInfo(this.fd)
  }

  /** Another program takes over between two packets. Not for tracing links. @throws Error ENOLINK when detached */
  update(program: BpfProgram): void {
    addon().linkUpdate(this.fd, program.fd)
  }

  /** Ends the attachment even if others hold the link. Not for tracing links. */
  detach(): void {
    addon().linkDetach(this.fd)
  }

  pin(path: string): void {
    addon().pin(this.fd, path)
  }
}

/** Whether links of type tcx exist (kernel 6.6). @param program any loaded tc program */
export function supportsTcx(program: BpfProgram): boolean {
  return addon().tcxSupported(program.fd)
}

/** Which filter on a clsact qdisc is ours. */
export interface ClsactSlot {
  readonly handle: number
  readonly priority: number
}

/** Adds the qdisc that clsact filters hang on. @returns whether it was not there */
export function ensureClsact(ifindex: number): boolean {
  return addon().clsactCreate(ifindex)
}

/** Attaches, or replaces what has this handle and priority. */
export function attachClsact(program: BpfProgram, ifindex: number, direction: Direction, slot: ClsactSlot): void {
  addon().clsactAttach(program.fd, ifindex, direction === 'egress', slot.handle, slot.priority)
}

/** @returns id of the program that has this handle and priority, 0 = none */
export function queryClsact(ifindex: number, direction: Direction, slot: ClsactSlot): number {
  return addon().clsactQuery(ifindex, direction === 'egress', slot.handle, slot.priority)
}

/** @returns whether there was a filter */
export function detachClsact(ifindex: number, direction: Direction, slot: ClsactSlot): boolean {
  return addon().clsactDetach(ifindex, direction === 'egress', slot.handle, slot.priority)
}

/** Removes the qdisc if no filter is left on it. @returns whether it was removed */
export function removeEmptyClsact(ifindex: number): boolean {
  if (addon().netlinkFilters(ifindex).length > 0) return false
  addon().clsactDestroy(ifindex)
  return true
}
