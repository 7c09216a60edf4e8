import { createHash, randomBytes } from 'node:crypto'
import { readFileSync } from 'node:fs'

/**
 * Four words from the machine's id, its boot's and the node's name: flow uuids of one node differ from those of any
 * other, and stay the same over restarts of the agent without a file of our own, so that what was read from the ring
 * again is known by its uuid. Records count time from boot: another boot has another seed. Random where the machine has
 * no ids.
 */
export function uuidSeed(nodeName: string): Uint32Array {
  const hash = createHash('sha256')
    .update('sluice flow uuid\0')
    .update(firstText(['/etc/machine-id', '/var/lib/dbus/machine-id']))
    .update('\0')
    .update(firstText(['/proc/sys/kernel/random/boot_id']))
    .update('\0')
    .update(nodeName)
    .digest()
  return new Uint32Array(hash.buffer.slice(hash.byteOffset, hash.byteOffset + 16))
}

function firstText(paths: readonly string[]): string | Buffer {
  for (const path of paths) {
    try {
      const text = readFileSync(path, 'utf8').trim()
      if (text !== '') return text
    } catch {
      // the next one
    }
  }
  return randomBytes(16)
}
