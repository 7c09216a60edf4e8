import { execFileSync } from 'node:child_process'
import { closeSync, mkdtempSync, openSync, rmSync, writeSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

const SOURCE = new URL('wall-clock.c', import.meta.url).pathname

/**
 * A wall clock for processes under test that can be stepped; the machine's own is left alone. Made by a library that is
 * preloaded, so that everything in the process sees it: the agent's reading of the clocks, Date, its log. Needs cc.
 */
export class TestWallClock implements Disposable {
  /** For the process whose clock it is. */
  readonly env: Readonly<Record<string, string>>
  readonly #directory: string
  readonly #fd: number

  constructor() {
    this.#directory = mkdtempSync(join(tmpdir(), 'sluice-clock-'))
    const library = join(this.#directory, 'wall-clock.so')
    const added = join(this.#directory, 'added')
    execFileSync('cc', ['-shared', '-fPIC', '-O2', '-Wall', '-Werror', '-o', library, SOURCE, '-ldl'])
    this.#fd = openSync(added, 'w')
    this.set(0n)
    this.env = { LD_PRELOAD: library, SLUICE_TEST_WALL_CLOCK: added }
  }

  /** @param ns added to the machine's wall clock from now on */
  set(ns: bigint): void {
    const bytes = new BigInt64Array([ns])
    writeSync(this.#fd, new Uint8Array(bytes.buffer), 0, 8, 0)
  }

  [Symbol.dispose](): void {
    closeSync(this.#fd)
    rmSync(this.#directory, { recursive: true, force: true })
  }
}
