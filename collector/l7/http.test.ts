import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { parseHttp } from './http.ts'
import { RequestMatcher } from './match.ts'
import { Redactor } from './redact.ts'

const redactor = new Redactor()

function parse(text: string, with_ = redactor) {
  const bytes = Uint8Array.from(Buffer.from(text, 'latin1'))
  return parseHttp(bytes, 0, bytes.length, with_)
}

describe('parseHttp()', () => {
  test('reads a request with absolute URL, sorted headers and trace', () => {
    const message = parse(
      'GET /cart?id=1 HTTP/1.1\r\nHost: shop:8080\r\nx-b: 2 \r\naccept: */*\r\nX-Folded: a\r\n  b\r\n' +
        'TraceParent: 00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01\r\n\r\nbody: not a header\r\n',
    )
    expect(message).toEqual({
      isResponse: false,
      traceId: '0af7651916cd43dd8448eb211c80319c',
      record: {
        code: 0,
        method: 'GET',
        url: 'http://shop:8080/cart?id=1',
        protocol: 'HTTP/1.1',
        headers: [
          { key: 'Accept', value: '*/*' },
          { key: 'Host', value: 'shop:8080' },
          { key: 'Traceparent', value: '00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01' },
          { key: 'X-B', value: '2' },
          { key: 'X-Folded', value: 'a b' },
        ],
      },
    })
  })

  test('reads a response', () => {
    const { isResponse, record } = parse('HTTP/1.0 404 Not Found\nServer: x\n\n')!
    expect([isResponse, record]).toEqual([
      true,
      { code: 404, method: '', url: '', protocol: 'HTTP/1.0', headers: [{ key: 'Server', value: 'x' }] },
    ])
  })

  test.each([
    ['GET http://a/b HTTP/1.1\r\nHost: c\r\n\r\n', 'GET', 'http://a/b', 'HTTP/1.1'],
    ['OPTIONS * HTTP/1.1\r\nHost: c\r\n\r\n', 'OPTIONS', '*', 'HTTP/1.1'],
    ['CONNECT a:443 HTTP/1.1\r\n\r\n', 'CONNECT', 'a:443', 'HTTP/1.1'],
    ['GET / HTTP/1.1\r\n\r\n', 'GET', '/', 'HTTP/1.1'],
    ['GET /cut HTTP/1.1\r\nHost: a\r\nHost2: cu', 'GET', 'http://a/cut', 'HTTP/1.1'],
    ['GET /very/long/path/that/was/cu', 'GET', '/very/long/path/that/was/cu', ''],
  ])('reads %j', (text, method, url, protocol) => {
    expect(parse(text)?.record).toMatchObject({ method, url, protocol })
  })

  test.each([
    '',
    'GET',
    'get / HTTP/1.1\r\n\r\n',
    'GET / HTTP/2.0\r\n\r\n',
    'GET /\r\n\r\n',
    'HTTP/1.1 99 x\r\n\r\n',
    'HTTP/1.1 2000\r\n\r\n',
    'SSH-2.0-OpenSSH\r\n',
    '\x16\x03\x01\x02\x00\x01\x00',
    'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n',
  ])('refuses %j', (text) => {
    expect(parse(text)).toBeUndefined()
  })

  test.each(['', '00-00000000000000000000000000000000-b7ad6b7169203331-01', '00-xyz-b7ad6b7169203331-01', 'junk'])(
    'takes no trace from traceparent %j',
    (value) => {
      expect(parse(`GET / HTTP/1.1\r\ntraceparent: ${value}\r\n\r\n`)?.traceId).toBe('')
    },
  )

  test('keeps at most 64 headers', () => {
    const head = Array.from({ length: 100 }, (_, i) => `h${i}: 1\r\n`).join('')
    expect(parse(`GET / HTTP/1.1\r\n${head}\r\n`)?.record.headers).toHaveLength(64)
  })

  test('answers any bytes', () => {
    const pieces = [
      'GET ',
      'POST ',
      '/',
      ' ',
      'HTTP/1.1',
      ' 200',
      '\r\n',
      '\n',
      ':',
      'Host: a',
      '\t',
      '\xff',
      'traceparent: 00-',
    ]
    const text = fc
      .array(fc.oneof(fc.constantFrom(...pieces), fc.string({ maxLength: 8 })), { maxLength: 60 })
      .map((all) => all.join(''))
    fc.assert(
      fc.property(
        fc.oneof(
          text,
          fc.uint8Array({ maxLength: 600 }).map((b) => Buffer.from(b).toString('latin1')),
        ),
        (input) => {
          const message = parse(input)
          if (message === undefined) return
          expect(message.isResponse).toBe(message.record.code !== 0)
          const keys = message.record.headers.map(({ key }) => key)
          expect(keys).toEqual([...keys].sort())
        },
      ),
      { seed: 17, numRuns: 5000, interruptAfterTimeLimit: 8000 },
    )
  })
})

describe('Redactor', () => {
  const url = 'http://user:secret@shop/a?q=1#f'
  test.each([
    [{}, 'http://user:HUBBLE_REDACTED@shop/a?q=1#f'],
    [{ userInfo: false }, url],
    [{ urlQuery: true }, 'http://user:HUBBLE_REDACTED@shop/a?q=1#f'],
    [{ enabled: true, urlQuery: true }, 'http://user:HUBBLE_REDACTED@shop/a'],
  ])('url() with %j', (options, expected) => {
    expect(new Redactor(options).url(url)).toBe(expected)
  })

  test.each(['http://shop/a@b:c', '/a?x=u:p@h', 'http://shop', 'http://user@shop/', 'http://shop/x//u:p@h'])(
    'url() leaves %j alone',
    (text) => {
      expect(new Redactor().url(text)).toBe(text)
    },
  )

  test.each([
    [{}, { Authorization: 'HUBBLE_REDACTED', Cookie: 'HUBBLE_REDACTED', Accept: 'v' }],
    [{ credentials: false }, { Authorization: 'v', Cookie: 'v', Accept: 'v' }],
    [{ enabled: true }, { Authorization: 'HUBBLE_REDACTED', Cookie: 'HUBBLE_REDACTED', Accept: 'HUBBLE_REDACTED' }],
    [
      { enabled: true, headersAllow: ['ACCEPT', 'cookie'] },
      { Authorization: 'HUBBLE_REDACTED', Cookie: 'v', Accept: 'v' },
    ],
    [
      { enabled: true, headersDeny: ['accept'], credentials: false },
      { Authorization: 'v', Cookie: 'v', Accept: 'HUBBLE_REDACTED' },
    ],
  ])('header() with %j', (options, expected) => {
    const redact = new Redactor(options)
    const shown = Object.fromEntries(Object.keys(expected).map((key) => [key, redact.header(key, 'v')]))
    expect(shown).toEqual(expected)
  })

  test('refuses both header lists', () => {
    expect(() => new Redactor({ headersAllow: ['a'], headersDeny: ['b'] })).toThrow(/"headersAllow" and "headersDeny"/)
  })
})

describe('RequestMatcher', () => {
  const make = (fields = {}) => new RequestMatcher<string>({ maxFlows: 2, maxPerFlow: 2, maxAgeNs: 1000, ...fields })

  test('pairs in order within a flow', () => {
    const matcher = make()
    matcher.request('a', 10, 0, 'one')
    matcher.request('a', 20, 0, 'two')
    matcher.request('b', 25, 0, 'other')
    expect(matcher.peek('a', 30, 0)).toEqual({ latencyNs: 20, value: 'one' })
    expect(matcher.response('a', 30, 0)).toEqual({ latencyNs: 20, value: 'one' })
    expect(matcher.response('a', 40, 0)).toEqual({ latencyNs: 20, value: 'two' })
    expect(matcher.response('a', 50, 0)).toBeUndefined()
    expect(matcher.size).toBe(1)
  })

  test('measures over the halves of 64 bits', () => {
    const matcher = make()
    matcher.request('a', 0xffff_ff00, 7, 'x')
    expect(matcher.response('a', 0x10, 8)?.latencyNs).toBe(0x110)
  })

  test('a request sent again waits since it was sent first', () => {
    const matcher = make({ maxPerFlow: 1 })
    matcher.request('a', 10, 0, 'x')
    matcher.request('a', 500, 0, 'x')
    expect(matcher.response('a', 600, 0)?.latencyNs).toBe(590)
    expect([matcher.response('a', 610, 0), matcher.evicted]).toEqual([undefined, 0])
  })

  test('old requests get no response, and make room', () => {
    const matcher = make({ maxPerFlow: 1 })
    matcher.request('a', 10, 0, 'old')
    expect(matcher.response('a', 1011, 0)).toBeUndefined()
    matcher.request('b', 10, 0, 'old')
    matcher.request('b', 2000, 0, 'new')
    expect(matcher.response('b', 2100, 0)?.value).toBe('new')
  })

  test('is bounded in flows and in requests of a flow, and counts', () => {
    const matcher = make()
    for (let i = 0; i < 5; i++) matcher.request('a', i, 0, `a${i}`)
    expect(matcher.evicted).toBe(3)
    matcher.request('b', 9, 0, 'b')
    matcher.request('c', 9, 0, 'c')
    expect([matcher.size, matcher.evicted]).toEqual([2, 5])
    expect(matcher.response('a', 10, 0)).toBeUndefined()
    expect(matcher.response('c', 10, 0)?.value).toBe('c')
  })
})
