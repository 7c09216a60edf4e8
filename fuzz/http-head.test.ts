import { describe, expect } from 'vitest'
import { parseHttp } from '../collector/l7/http.ts'
import { Redactor } from '../collector/l7/redact.ts'
import { fuzzBytes, fuzzText } from '../test/helpers/fuzz.ts'

const plain = new Redactor({ credentials: false, userInfo: false })
const strict = new Redactor({ enabled: true, urlQuery: true })

describe('fuzz: HTTP', () => {
  fuzzBytes('parseHttp() reads or refuses any head', 'http-head', (bytes) => {
    const around = new Uint8Array(bytes.length + 32).fill(0x41)
    around.set(bytes, 16)
    const message = parseHttp(around, 16, bytes.length, plain)
    expect(message).toEqual(parseHttp(bytes, 0, bytes.length, plain))
    if (message === undefined) return
    const { record, isResponse, traceId } = message
    expect(record.headers.length).toBeLessThanOrEqual(64)
    expect(traceId).toMatch(/^([0-9a-f]{32})?$/)
    expect(record.code === 0).toBe(!isResponse)
    for (const { key, value } of record.headers) expect(key + value).not.toMatch(/\n/)
  })

  fuzzBytes('parseHttp() shows no value of a header when all are redacted', 'http-head', (bytes) => {
    const message = parseHttp(bytes, 0, bytes.length, strict)
    for (const { value } of message?.record.headers ?? []) expect(value).toBe('HUBBLE_REDACTED')
    expect(message?.record.url ?? '').not.toMatch(/[?#]/)
  })

  fuzzText('parseHttp() finds a trace id or none in any traceparent', {
    corpus: 'traceparent',
    tokens: ['00', '-', '0af7651916cd43dd8448eb211c80319c', 'b7ad6b7169203331', 'F', ' ', '\r'],
    target: (value) => {
      const head = Buffer.from(`GET / HTTP/1.1\r\ntraceparent: ${value}\r\n\r\n`)
      const message = parseHttp(head, 0, head.length, plain)
      expect(message?.traceId).toMatch(/^([0-9a-f]{32})?$/)
      if (/^0{32}$/.test(message!.traceId)) throw new Error('A trace id of zeros is none')
    },
  })
})
