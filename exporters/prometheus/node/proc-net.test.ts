import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { describe, expect, onTestFinished, test } from 'vitest'
import { countTcpStates, parseDev, parsePairs, readSmall, sockstat, TCP_STATES, TcpStateCounter } from './proc-net.ts'

const TCP = `  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:37A5 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 108536 1 000000005e0dd3d0 100 0 0 10 0
   1: 0100007F:37A5 0100007F:9D1C 01 00000000:00000000 00:00000000 00000000     0        0 1679 1 0000000033f817c3 100 0 0 10 0
   2: 0100007F:37A5 0100007F:9D1E 06 00000000:00000000 03:00000C3B 00000000     0        0 0 3 00000000e1d2a6ad
   3: 0100007F:37A5 0100007F:9D20 7F 00000000:00000000 03:00000C3B 00000000     0        0 0 3 00000000e1d2a6ad
`

describe('parsePairs()', () => {
  test('pairs names and values, and leaves out what does not fit', () => {
    const text =
      'TcpExt: SyncookiesSent TW Bad-Name Neg\nTcpExt: 0 239 1 -5\nIpExt: InOctets\nIpExt: 1 2\nMPTcpExt: A\nOther: 1\n'
    const got = Object.fromEntries([...parsePairs(text)].map(([section, map]) => [section, Object.fromEntries(map)]))
    expect(got).toEqual({ TcpExt: { SyncookiesSent: 0, TW: 239, Neg: -5 } })
  })

  test('reads the running kernel', async () => {
    const sections = parsePairs(await readSmall('/proc/self/net/netstat'))
    expect(sections.get('TcpExt')!.size).toBeGreaterThan(50)
    expect(sections.get('IpExt')!.has('InOctets')).toBe(true)
  })

  test('takes any text', () => {
    fc.assert(
      fc.property(fc.string(), (text) => {
        parsePairs(text)
        parseDev(text)
        sockstat(text, 'UDP', 'inuse')
      }),
    )
  })
})

describe('TcpStateCounter', () => {
  test('counts states whatever the pieces', () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 1, max: 200 }), { maxLength: 20 }), (cuts) => {
        const counts = new Uint32Array(TCP_STATES.length)
        const counter = new TcpStateCounter(counts)
        const bytes = Buffer.from(TCP)
        let from = 0
        for (const cut of cuts) {
          counter.add(bytes.subarray(from, from + cut))
          from = Math.min(bytes.length, from + cut)
        }
        counter.add(bytes.subarray(from))
        // 7F is no state: it counts as unknown.
        expect([counts[10], counts[1], counts[6], counts[0], counter.sockets]).toEqual([1, 1, 1, 1, 4])
      }),
    )
  })

  test('takes any bytes', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 500 }), (bytes) => {
        new TcpStateCounter(new Uint32Array(TCP_STATES.length)).add(bytes)
      }),
    )
  })
})

describe('readSmall() and countTcpStates()', () => {
  test('give nothing for files that are not there', async () => {
    const counts = new Uint32Array(TCP_STATES.length)
    await countTcpStates('/nonexistent/tcp', counts)
    expect([await readSmall('/nonexistent/netstat'), counts.some((n) => n > 0)]).toEqual(['', false])
  })

  test('read files of more than one piece', async () => {
    const directory = mkdtempSync(join(tmpdir(), 'sluice-proc-'))
    onTestFinished(() => rmSync(directory, { recursive: true }))
    const [header, , established] = TCP.split('\n')
    writeFileSync(join(directory, 'tcp'), `${header}\n${`${established}\n`.repeat(3000)}`)
    const counts = new Uint32Array(TCP_STATES.length)
    await countTcpStates(join(directory, 'tcp'), counts)
    expect(counts[1]).toBe(3000)
    writeFileSync(join(directory, 'big'), 'x'.repeat(300_000))
    expect(await readSmall(join(directory, 'big'))).toHaveLength(262_144)
  })
})

describe('sockstat() and parseDev()', () => {
  test('read their files', () => {
    const text = 'sockets: used 57\nTCP: inuse 2 orphan 0\nUDP: inuse 3 mem 256\nUDPLITE: inuse 9\n'
    expect([sockstat(text, 'UDP', 'inuse'), sockstat(text, 'UDP', 'none'), sockstat(text, 'RAW', 'inuse')]).toEqual([
      3, 0, 0,
    ])
    const dev = `Inter-| Receive | Transmit
 face |bytes packets
    lo: 5 5 5 5 5 5 5 5 5 5 5 5 5 5 5 5
  eth0: 1 2 0 0 0 0 0 0 3 4 0 0 0 0 0 0
  eth1:10 20 0 0 0 0 0 0 30 40 0 0 0 0 0 0
   bad: 1 2\n`
    const sums = parseDev(dev)
    expect(['rx_bytes', 'rx_packets', 'tx_bytes', 'tx_packets'].map((name) => sums.get(name))).toEqual([11, 22, 33, 44])
  })
})
