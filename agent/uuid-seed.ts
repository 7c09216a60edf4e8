import { createHash, randomBytes } from 'node:crypto'
import { readFileSync } from 'node:fs'

/**
 * Four words from the machine's id and the node's name: flow uuids of one node differ from those of any other, and stay
 * the same over restarts without a file of our own. Random where the machine has no id.
 */
export function uuidSeed(nodeName: string): Uint32Array {
  const hash = createHash('sha256')
    .update('sluice flow uuid\0')
    .update(machineId())
    .update('\0')
    .update(nodeName)
    .digest()
  return new Uint32Array(hash.buffer.slice(hash.byteOffset, hash.byteOffset + 16))
}

function machineId(): string | Buffer {
  for (const path of ['/etc/machine-id', '/var/lib/dbus/machine-id', '/proc/sys/kernel/random/boot_id']) {
    try {
      const id = readFileSync(path, 'utf8').trim()
      if (id !== '') return id
    } catch {
      // the next one
    }
  }
  return randomBytes(16)
}
