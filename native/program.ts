import { addon, type ProgramInfo } from './addon.ts'
import { Descriptor } from './descriptor.ts'

/** Buffers of a test run. A program of SEC("syscall") takes `ctxIn` alone and writes into it. */
export interface TestRunOptions {
  readonly dataIn?: Uint8Array
  readonly dataOut?: Uint8Array
  readonly ctxIn?: Uint8Array
  readonly ctxOut?: Uint8Array
  readonly repeat?: number
}

export interface TestRunResult {
  readonly retval: number
  /** Bytes of the packet after the run; may be more than dataOut took. */
  readonly dataSize: number
  readonly ctxSize: number
  /** Mean of one run. */
  readonly durationNs: number
}

/** A loaded program. */
export class BpfProgram extends Descriptor {
  static openPinned(path: string): BpfProgram {
    return new BpfProgram(addon().openPinned(path))
  }

  info(): ProgramInfo {
    return addon().programInfo(this.fd)
  }

  pin(path: string): void {
    addon().pin(this.fd, path)
  }

  /** BPF_PROG_TEST_RUN. @throws Error ENOSPC when dataOut is too short for the packet */
  testRun(options: TestRunOptions = {}): TestRunResult {
    const [retval, dataSize, ctxSize, durationNs] = addon().programTestRun(
      this.fd,
      options.dataIn ?? null,
      options.dataOut ?? null,
      options.ctxIn ?? null,
      options.ctxOut ?? null,
      options.repeat ?? 0,
    )
    return { retval, dataSize, ctxSize, durationNs }
  }

  /**
   * Runs a program of SEC("syscall") once, on another thread, when every program that runs now is done (RCU); it reads and writes `context`, which is not to be touched
   * until then, nor is this to be disposed. @returns what the program returned
   */
  run(context: Uint8Array): Promise<number> {
    return addon().programRunAsync(this.fd, context)
  }
}

/**
 * Resolves when every program that runs now is done (RCU), after 10 to 30 ms: what they found in maps before this call is in
 * no one's hands any more.
 */
export async function gracePeriod(): Promise<void> {
  await addon().gracePeriod()
}

/** The kernel measures programs' run time and count until this is disposed, about 20 ns a run. */
export function enableStats(): Descriptor {
  return new Descriptor(addon().statsEnable())
}
