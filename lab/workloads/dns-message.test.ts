import dnsPacket from 'dns-packet'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { answerQuery, MAX_UDP } from './dns-message.ts'

const ZONE = {
  'cart.shop.svc.cluster.local': ['10.244.1.11', 'fd00:244:1::b'],
  'many.example.com': Array.from({ length: 60 }, (_, i) => `203.0.113.${i}`),
}

const ask = (name: string, type: dnsPacket.RecordType, max = MAX_UDP) => {
  const answer = answerQuery(dnsPacket.encode({ id: 7, type: 'query', questions: [{ name, type }] }), ZONE, max)
  return answer && dnsPacket.decode(answer)
}

describe('answerQuery()', () => {
  const cases: [string, dnsPacket.RecordType, unknown[], string][] = [
    ['cart.shop.svc.cluster.local', 'A', ['10.244.1.11'], 'NOERROR'],
    ['CART.shop.svc.cluster.local', 'AAAA', ['fd00:244:1::b'], 'NOERROR'],
    ['cart.shop.svc.cluster.local', 'MX', [], 'NOERROR'],
    ['nobody.shop.svc.cluster.local', 'A', [], 'NXDOMAIN'],
    ['constructor', 'A', [], 'NXDOMAIN'],
  ]
  test.each(cases)('answers %s %s with %j', (name, type, data, rcode) => {
    const answer = ask(name, type)!
    expect(answer.id).toBe(7)
    expect((answer as unknown as { rcode: string }).rcode).toBe(rcode)
    expect(answer.answers?.map((record) => (record as { data: unknown }).data)).toEqual(data)
    expect(answer.questions?.[0]?.name).toBe(name)
  })

  test('cuts what is too long for UDP and says so; TCP gets all', () => {
    const cut = ask('many.example.com', 'A')!
    expect([cut.flag_tc, cut.answers?.length]).toEqual([true, 0])
    const whole = ask('many.example.com', 'A', 65535)!
    expect([whole.flag_tc, whole.answers?.length]).toEqual([false, 60])
  })

  test('gives no answer to an answer', () => {
    const answer = dnsPacket.encode({ id: 7, type: 'response', questions: [{ name: 'a', type: 'A' }] })
    expect(answerQuery(answer, ZONE, MAX_UDP)).toBeUndefined()
  })

  test('never throws, whatever comes', () => {
    const query = dnsPacket.encode({ type: 'query', questions: [{ name: 'cart.shop.svc.cluster.local', type: 'A' }] })
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 600 }), fc.nat(), (noise, at) => {
        answerQuery(Buffer.from(noise), ZONE, MAX_UDP)
        const broken = Buffer.from(query)
        broken.set(noise.subarray(0, 4), at % (broken.length - 4))
        answerQuery(broken, ZONE, MAX_UDP)
        answerQuery(query.subarray(0, at % query.length), ZONE, MAX_UDP)
      }),
      { numRuns: 2000, seed: 20261124 },
    )
  })
})
