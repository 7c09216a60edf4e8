import { existsSync, mkdirSync, readdirSync, rmdirSync, statfsSync, unlinkSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { errorText, SluiceError } from '../../base/errors.ts'
import { BpfLink, BpfMap, type Descriptor, errnoOf, lockDirectory } from '../../native/index.ts'

const BPFFS_MAGIC = 0xcafe4a11

/**
 * What outlives the agent, in <pinPath>/<instance>/: maps under their names, links in links/. Held by one process at a
 * time; two would both read the ring.
 *
 *     /sys/fs/bpf/sluice/default/
 *       datapath  events  flows  ledger  ...
 *       links/trace_packet_dropped  links/tcx_17_ingress  ...
 */
export class PinDirectory implements Disposable {
  readonly path: string
  readonly #links: string
  readonly #lock: Descriptor

  private constructor(path: string, lock: Descriptor) {
    this.path = path
    this.#links = join(path, 'links')
    this.#lock = lock
  }

  /** @throws SluiceError SLUICE_PIN_DIR */
  static open(root: string, instance: string): PinDirectory {
    const path = join(root, instance)
    let lock: Descriptor | undefined
    try {
      // Read by the owner alone: maps hold who talks to whom.
      makeDirectory(join(path, 'links'))
      lock = lockDirectory(path)
    } catch (cause) {
      throw new SluiceError('SLUICE_PIN_DIR', `Cannot use pin directory "${path}": ${errorText(cause)}`, { cause })
    }
    if (!lock) {
      throw new SluiceError('SLUICE_PIN_DIR', `Cannot use pin directory "${path}": another agent runs with it`, {
        remedy: 'Stop the other agent, or give this one another kernel.instance',
      })
    }
    if (statfsSync(path).type !== BPFFS_MAGIC) {
      lock[Symbol.dispose]()
      removeEmpty(join(path, 'links'))
      removeEmpty(path)
      throw new SluiceError('SLUICE_PIN_DIR', `Cannot use pin directory "${path}": it is not on a bpffs`, {
        remedy: 'mount -t bpf bpf /sys/fs/bpf',
      })
    }
    return new PinDirectory(path, lock)
  }

  map(name: string): BpfMap | undefined {
    return openOrMissing(() => BpfMap.openPinned(join(this.path, name)))
  }

  /** Pins under a name, in place of what has it. */
  pinMap(name: string, map: BpfMap): void {
    unlinkIfThere(join(this.path, name))
    map.pin(join(this.path, name))
  }

  link(name: string): BpfLink | undefined {
    return openOrMissing(() => BpfLink.openPinned(join(this.#links, name)))
  }

  pinLink(name: string, link: BpfLink): void {
    unlinkIfThere(join(this.#links, name))
    link.pin(join(this.#links, name))
  }

  /** The attachment ends when this was the last reference to it. */
  removeLink(name: string): void {
    unlinkIfThere(join(this.#links, name))
  }

  linkNames(): string[] {
    return readdirSync(this.#links)
  }

  mapNames(): string[] {
    return readdirSync(this.path).filter((name) => name !== 'links')
  }

  removeLinks(): void {
    for (const name of this.linkNames()) this.removeLink(name)
  }

  removeMap(name: string): void {
    unlinkIfThere(join(this.path, name))
  }

  removeMaps(): void {
    for (const name of this.mapNames()) this.removeMap(name)
  }

  /** Removes every pin and the directories, the root too when it is empty. */
  removeAll(root: string): void {
    this.removeLinks()
    this.removeMaps()
    removeEmpty(this.#links)
    removeEmpty(this.path)
    removeEmpty(root)
  }

  [Symbol.dispose](): void {
    this.#lock[Symbol.dispose]()
  }
}

function openOrMissing<T>(open: () => T): T | undefined {
  try {
    return open()
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return undefined
    throw error
  }
}

function unlinkIfThere(path: string): void {
  try {
    unlinkSync(path)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
  }
}

/**
 * A directory and those above it. Not with `recursive`: below a directory where none can be made, such as /sys/fs/bpf
 * without a bpffs, Node 20 tries for ever.
 */
function makeDirectory(path: string): void {
  if (existsSync(path)) return
  makeDirectory(dirname(path))
  try {
    mkdirSync(path, { mode: 0o700 })
  } catch (error) {
    // Another agent was first.
    if (errnoOf(error) !== 'EEXIST') throw error
  }
}

function removeEmpty(path: string): void {
  try {
    rmdirSync(path)
  } catch {
    // Not empty or gone: others' business.
  }
}
