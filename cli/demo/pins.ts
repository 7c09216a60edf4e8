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
    removeLeftBehind(path)
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

/** Pins of demos that were killed: their instance is named after their process. */
function removeLeftBehind(path: string): void {
  for (const name of existsSync(path) ? readdirSync(path) : []) {
    const pid = /^demo-(\d+)$/.exec(name)?.[1]
    if (pid !== undefined && !existsSync(`/proc/${pid}`)) rmSync(join(path, name), { recursive: true, force: true })
  }
}

function removeIfEmpty(path: string): void {
  try {
    rmdirSync(path)
  } catch {
    // Another agent of this machine pins there.
  }
}
