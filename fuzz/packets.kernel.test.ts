import fc from 'fast-check'
import { afterAll, expect } from 'vitest'
import { checkRecord } from '../collector/decode.ts'
import { L7Kind } from '../model/layouts.gen.ts'
import { fuzz } from '../test/helpers/fuzz.ts'
import { CLASSES, gapsNow, KernelPrograms, NO_GAPS } from '../test/helpers/kernel-programs.ts'
import { decodeRecord } from '../test/helpers/kernel-records.ts'
import { describeKernel } from '../test/helpers/privileged.ts'

const PROGRAMS = ['pod_egress', 'pod_ingress', 'uplink_ingress', 'uplink_egress'] as const
/** How often the ledger's equations are looked at: the sweep walks the table. */
const LEDGER_EVERY = 64
const ETHERNET = 14
/** BPF_PROG_TEST_RUN of newer kernels wants something behind the Ethernet header, and of IP its fixed header. */
const MIN_BEHIND: Readonly<Record<number, number>> = { 2048: 20, 34525: 40 }
const MAX_PACKET = 1514

interface Run {
  readonly program: string
  readonly bytes: Uint8Array
}

describeKernel('fuzz: packets', () => {
  let k: KernelPrograms | undefined
  let runs = 0
  let records = 0

  /** Loaded by the first run: also where this suite is skipped, its body is read. */
  function programs(): KernelPrograms {
    if (k !== undefined) return k
    k = new KernelPrograms({ programs: [...PROGRAMS, 'flow_sweep'], maxEntries: { flows: 4096 } })
    k.captureL7(53, L7Kind.DNS)
    k.captureL7(80, L7Kind.HTTP)
    return k
  }

  fuzz(
    'whatever a packet holds, it passes untouched, is counted once and its records can be read',
    {
      corpus: 'packet',
      from: (seed): Run => ({ program: PROGRAMS[seed.length % PROGRAMS.length]!, bytes: sized(seed) }),
      generated: fc
        .record({
          program: fc.constantFrom(...PROGRAMS),
          etherType: fc.constantFrom(0x0800, 0x86dd, 0x8100, 0x88a8, 0x0806),
          body: fc.uint8Array({ maxLength: 200, size: 'max' }),
        })
        .map(({ program, etherType, body }) => {
          const head = Buffer.alloc(ETHERNET, 2)
          head.writeUInt16BE(etherType, 12)
          return { program, bytes: sized(Buffer.concat([head, body])) }
        }),
      target: ({ program, bytes }) => {
        const kernel = programs()
        const before = kernel.ledger()
        const { verdict, packet } = kernel.run(program, bytes)
        expect(verdict).toBe(-1)
        expect(packet.equals(bytes)).toBe(true)
        const after = kernel.ledger()
        expect([after.PACKETS_SEEN - before.PACKETS_SEEN, after.BYTES_SEEN - before.BYTES_SEEN]).toEqual([
          1,
          bytes.length,
        ])
        expect(CLASSES.reduce((sum, name) => sum + after[name] - before[name], 0)).toBe(1)
        records += readAll(kernel)
        if (++runs % LEDGER_EVERY === 0) {
          // Old flows go, so that the table has room for new ones.
          kernel.sweep({ tcpIdleNs: 0n, otherIdleNs: 0n, closedIdleNs: 0n })
          records += readAll(kernel)
          expect(gapsNow(kernel)).toEqual(NO_GAPS)
          records += readAll(kernel)
          expect(kernel.ledger().EVENTS_SUBMITTED).toBe(records)
        }
      },
    },
    // Two readings of the ledger and one run are system calls; the sweep walks 4,096 entries.
    { maxMs: 250 },
  )

  afterAll(() => {
    k?.[Symbol.dispose]()
    expect(records).toBeGreaterThan(0)
  })
})

/** Every record that is ready: each passes the collector's check. @returns how many */
function readAll({ ring }: KernelPrograms): number {
  let count = 0
  for (let at = ring.next(); at >= 0; at = ring.next(), count++) {
    expect(checkRecord(ring, at)).toBeUndefined()
    const { size, payload } = decodeRecord(ring.u8, at)
    expect(payload.length).toBe(size - 128)
  }
  ring.release(ring.position)
  return count
}

function sized(bytes: Uint8Array): Uint8Array {
  const etherType = ((bytes[12] ?? 0) << 8) | (bytes[13] ?? 0)
  const least = ETHERNET + (MIN_BEHIND[etherType] ?? 1)
  if (bytes.length >= least) return bytes.subarray(0, MAX_PACKET)
  const padded = new Uint8Array(least)
  padded.set(bytes)
  return padded
}
