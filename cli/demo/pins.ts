import { execFileSync } from 'node:child_process'
import { existsSync, mkdirSync, readdirSync, rmdirSync, rmSync, statfsSync } from 'node:fs'
import { join } from 'node:path'
import { errorText, SluiceError } from '../../base/errors.ts'

const BPF_FS_MAGIC = 0xcafe4a11
const SYSTEM_BPFFS = '/sys/fs/bpf'

/** A directory for pins that is gone when it is disposed of. */
export interface PinPlace extends Disposable {
  /** For kernel.pinPath. */
  readonly path: string
}

/**
 * Where an agent that leaves nothing behind pins: below the machine's bpffs, or on a bpffs of its own where the
 * machine has none.
 *
 * @param directory where a bpffs of its own is mounted
 * @throws SluiceError SLUICE_PIN_DIR
 */
export function temporaryPins(instance: string, directory: string): PinPlace {
  if (statfsSync(SYSTEM_BPFFS).type === BPF_FS_MAGIC) {
    const path = join(SYSTEM_BPFFS, 'sluice')
    sweepDemoPins()
    return {
      path,
      [Symbol.dispose]() {
        rmSync(join(path, instance), { recursive: true, force: true })
        removeIfEmpty(path)
      },
    }
  }
  const path = join(directory, 'bpf')
  mkdirSync(path, { recursive: true, mode: 0o700 })
  try {
    execFileSync('mount', ['-t', 'bpf', 'bpf', path], { stdio: ['ignore', 'ignore', 'pipe'] })
  } catch (cause) {
    throw new SluiceError('SLUICE_PIN_DIR', `Cannot mount a bpffs on "${path}": ${errorText(cause)}`, { cause })
  }
  return {
    path,
    [Symbol.dispose]() {
      execFileSync('umount', [path], { stdio: 'ignore' })
      rmdirSync(path)
    },
  }
}

/** Removes the pins of demos that were killed: their instance is named after their process. @returns their instances */
export function sweepDemoPins(): string[] {
  const path = join(SYSTEM_BPFFS, 'sluice')
  const left = (existsSync(path) ? readdirSync(path) : []).filter((name) => {
    const pid = /^demo-(\d+)$/.exec(name)?.[1]
    return pid !== undefined && !existsSync(`/proc/${pid}`)
  })
  for (const name of left) rmSync(join(path, name), { recursive: true, force: true })
  if (left.length > 0) removeIfEmpty(path)
  return left
}

function removeIfEmpty(path: string): void {
  try {
    rmdirSync(path)
  } catch {
    // Another agent of this machine pins there.
  }
}
