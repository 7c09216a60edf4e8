import dnsPacket, { type Answer, type Packet } from 'dns-packet'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { parseDns } from './dns.ts'

function parse(bytes: Uint8Array, isTcp = false) {
  return parseDns(bytes, 0, bytes.length, isTcp)
}

const hex = (text: string) => Uint8Array.from(Buffer.from(text.replaceAll(' ', ''), 'hex'))
const header = (fields: { flags?: string; qd?: number; an?: number } = {}) =>
  `1234 ${fields.flags ?? '0100'} 000${fields.qd ?? 1} 000${fields.an ?? 0} 0000 0000`

describe('parseDns()', () => {
  test('reads a query', () => {
    const bytes = dnsPacket.encode({ type: 'query', id: 7, questions: [{ type: 'AAAA', name: 'Api.Example.com' }] })
    expect(parse(bytes)).toEqual({
      id: 7,
      isResponse: false,
      record: {
        query: 'Api.Example.com.',
        ips: [],
        ttl: 0,
        cnames: [],
        observationSource: 'kernel',
        rcode: 0,
        qtypes: ['AAAA'],
        rrtypes: [],
      },
    })
  })

  test('reads an answer over a chain of names', () => {
    const bytes = dnsPacket.encode({
      type: 'response',
      id: 9,
      questions: [{ type: 'A', name: 'www.example.com' }],
      answers: [
        { type: 'CNAME', name: 'www.example.com', ttl: 300, data: 'lb.example.net' },
        { type: 'A', name: 'lb.example.net', ttl: 20, data: '203.0.113.9' },
        { type: 'A', name: 'lb.example.net', ttl: 60, data: '203.0.113.10' },
      ],
    })
    expect(parse(bytes)?.record).toMatchObject({
      query: 'www.example.com.',
      ips: ['203.0.113.9', '203.0.113.10'],
      ttl: 20,
      cnames: ['lb.example.net.'],
      rrtypes: ['CNAME', 'A', 'A'],
    })
  })

  test.each([
    ['the root', `${header()} 00 0002 0001`, '.', ['NS']],
    ['an unknown type', `${header()} 0161 00 ff55 0001`, 'a.', ['TYPE65365']],
    ['bytes that zone files escape', `${header()} 05 61 2e 5c 07 ff 00 0001 0001`, 'a\\.\\\\\\007\\255.', ['A']],
    ['two questions', `${header({ qd: 2 })} 0161 00 0001 0001 c00c 001c 0001`, 'a.', ['A', 'AAAA']],
  ])('writes %s as Hubble does', (_, text, query, qtypes) => {
    expect(parse(hex(text))?.record).toMatchObject({ query, qtypes })
  })

  test('adds the upper bits of the response code from OPT', () => {
    const opt = '00 0029 1000 01000000 0000'
    const text = `1234 8180 0001 0000 0000 0001 0161 00 0001 0001 ${opt}`
    expect(parse(hex(text))?.record.rcode).toBe(16)
  })

  test.each([
    ['fewer bytes than a header', '1234 0100 0001 0000 0000'],
    ['no question', header({ qd: 0 })],
    ['a question that was cut', `${header()} 0361 62`],
    ['a pointer to itself', `${header()} c00c 0001 0001`],
    ['pointers in a circle', `${header({ qd: 2 })} c00e c00c 0001 0001`],
    ['a pointer forward', `${header()} c020 0001 0001 00000000 0000 0000 0000 0000 0161 00`],
    ['a pointer into the header', `${header()} c000 0001 0001`],
    ['a label of a reserved kind', `${header()} 4161 00 0001 0001`],
    ['an opcode that is none', `${header({ flags: '7900' })} 0161 00 0001 0001`],
    ['a name of more than 255 bytes', `${header()} ${`3f${'61'.repeat(63)}`.repeat(4)} 00 0001 0001`],
  ])('refuses %s', (_, text) => {
    expect(parse(hex(text))).toBeUndefined()
  })

  test('reads messages with a length before them on TCP, whole and cut', () => {
    const packet: Packet = {
      type: 'response',
      id: 3,
      questions: [{ type: 'A', name: 'a.example' }],
      answers: Array.from({ length: 10 }, (_, i) => ({ type: 'A', name: 'a.example', ttl: 60, data: `10.0.0.${i}` })),
    }
    const bytes = Uint8Array.from(dnsPacket.streamEncode(packet))
    expect(parse(bytes, true)?.record.ips).toHaveLength(10)
    expect(parse(bytes.subarray(0, 100), true)?.record.ips.length).toBeGreaterThan(1)
    expect(parse(bytes.subarray(2), true)).toBeUndefined()
  })

  test('never reads behind its length', () => {
    const bytes = dnsPacket.encode({ type: 'query', id: 7, questions: [{ type: 'A', name: 'example.com' }] })
    const padded = new Uint8Array(bytes.length + 100).fill(1)
    padded.set(bytes, 50)
    expect(parseDns(padded, 50, bytes.length, false)).toEqual(parse(bytes))
    expect(parseDns(padded, 50, bytes.length - 1, false)).toBeUndefined()
  })

  const label = fc.stringMatching(/^[a-z0-9][a-z0-9-]{0,20}$/)
  const name = fc.array(label, { minLength: 1, maxLength: 5 }).map((labels) => labels.join('.'))
  const ttl = fc.nat(86_400)
  const answer: fc.Arbitrary<Answer> = fc.oneof(
    fc.record({ type: fc.constant('A' as const), name, ttl, data: fc.ipV4() }),
    fc.record({ type: fc.constant('AAAA' as const), name, ttl, data: fc.ipV6() }),
    fc.record({ type: fc.constant('CNAME' as const), name, ttl, data: name }),
    fc.record({ type: fc.constant('TXT' as const), name, ttl, data: label }),
    fc.record({
      type: fc.constant('MX' as const),
      name,
      ttl,
      data: fc.record({ preference: fc.nat(9), exchange: name }),
    }),
  )

  test('agrees with dns-packet about every message that it writes', () => {
    fc.assert(
      fc.property(
        fc.nat(65_535),
        name,
        fc.array(answer, { maxLength: 12 }),
        fc.nat(15),
        (id, query, answers, rcode) => {
          const packet: Packet = {
            type: 'response',
            id,
            flags: rcode,
            questions: [{ type: 'A', name: query }],
            answers,
          }
          const bytes = dnsPacket.encode(packet)
          const oracle = dnsPacket.decode(bytes)
          const ours = parse(bytes)!
          expect([ours.id, ours.isResponse, ours.record.query, ours.record.rcode]).toEqual([
            id,
            true,
            `${query}.`,
            rcode,
          ])
          const all = (oracle.answers ?? []) as { type: string; ttl: number; data: unknown }[]
          expect(ours.record.rrtypes).toEqual(all.map(({ type }) => type))
          expect(ours.record.cnames).toEqual(all.filter(({ type }) => type === 'CNAME').map(({ data }) => `${data}.`))
          expect(ours.record.ttl).toBe(all.length === 0 ? 0 : Math.min(...all.map((one) => one.ttl)))
          expect(ours.record.ips.filter((ip) => !ip.includes(':'))).toEqual(
            all.filter(({ type }) => type === 'A').map(({ data }) => data),
          )
          expect(ours.record.ips).toHaveLength(all.filter(({ type }) => type === 'A' || type === 'AAAA').length)
        },
      ),
      { seed: 11, numRuns: 600, interruptAfterTimeLimit: 8000 },
    )
  })

  test('answers any bytes, and any damage to a good message, in linear time', () => {
    const good = dnsPacket.encode({
      type: 'response',
      id: 1,
      questions: [{ type: 'A', name: 'a.b.c.example.com' }],
      answers: Array.from({ length: 8 }, (_, i) => ({
        type: 'CNAME',
        name: `n${i}.a.b.c.example.com`,
        ttl: 1,
        data: `n${i + 1}.a.b.c`,
      })),
    })
    const damaged = fc.array(fc.tuple(fc.nat(good.length - 1), fc.nat(255)), { maxLength: 8 }).map((changes) => {
      const bytes = Uint8Array.from(good)
      for (const [at, value] of changes) bytes[at] = value
      return bytes
    })
    const pointers = fc
      .array(fc.constantFrom(0xc0, 0x0c, 0, 1, 0xff, 63), { maxLength: 1024 })
      .map((bytes) => Uint8Array.from([0, 1, 0x81, 0x80, 0, 1, 0, 200, 0, 0, 0, 0, ...bytes]))
    const started = performance.now()
    let runs = 0
    fc.assert(
      fc.property(fc.oneof(fc.uint8Array({ maxLength: 1024 }), damaged, pointers), fc.boolean(), (bytes, isTcp) => {
        runs++
        const message = parse(bytes, isTcp)
        if (message) expect(message.record.ips.length).toBeLessThanOrEqual(message.record.rrtypes.length)
      }),
      { seed: 13, numRuns: 5000, interruptAfterTimeLimit: 8000 },
    )
    expect((performance.now() - started) / runs).toBeLessThan(5)
  })
})
