import { describe, expect } from 'vitest'
import { SluiceError } from '../base/errors.ts'
import { parseCidr, parseIp } from '../base/ip.ts'
import { isMapped, parseAddress, parsePrefix, prefixContains } from '../filters/address.ts'
import { CelSyntaxError } from '../filters/cel/lexer.ts'
import { compileCel } from '../filters/cel/program.ts'
import { compileFlowFilters } from '../filters/hubble/index.ts'
import { parseFlowFilters } from '../filters/hubble/json.ts'
import { compileSelector, parseLabels } from '../filters/label-selector.ts'
import { compileFqdnGlobs, compileNodeGlobs } from '../filters/names.ts'
import { compileRegex, MAX_REGEX_LENGTH, regexSize } from '../filters/regex.ts'
import { requestPath } from '../filters/request-uri.ts'
import { TestFlowStore } from '../test/helpers/flow-store.ts'
import { fuzzText } from '../test/helpers/fuzz.ts'

const store = new TestFlowStore()
const labels = ['k8s:app=web', 'cidr:10.0.0.0/8', 'reserved:world']
store.push({}, { srcIp: 'fd00::1', dstIp: 'fd00::2', destinationNames: ['a.b'], source: { labels } })
const view = store.createView()
const parsedLabels = parseLabels(labels)
const NAME = `${'a'.repeat(60)}.example.com`

/** The plain Error that these throw for their callers to wrap: one line, no programming error. */
const plainError = (error: unknown): boolean =>
  error instanceof Error && !/^(Type|Range|Reference|Internal)Error$/.test(error.name) && error.message !== ''

describe('fuzz: filters', () => {
  fuzzText(
    'compileSelector() compiles or refuses any selector',
    {
      corpus: 'label-selector',
      tokens: [
        'k8s:',
        'any:',
        'app',
        '=',
        '!=',
        ' in ',
        ' notin ',
        '(',
        ')',
        ',',
        '!',
        '>',
        '3',
        'cidr:',
        '10.0.0.0/8',
      ],
      target: (text) => expect(compileSelector(text).matches(parsedLabels)).toBeTypeOf('boolean'),
    },
    { refuses: plainError },
  )

  fuzzText('parseLabels() takes any label', {
    corpus: 'label-selector',
    tokens: ['cidr:', 'reserved:', 'k8s:', '=', ':', 'a', '1.2.3.4/5', '::/0'],
    target: (text) => expect(parseLabels([text, 'k8s:b'])).toHaveLength(2),
  })

  const globs = ['*', '.', '-', '_', 'a', 'B', '/', ' ', 'é', '**', '\\', '(', '[', '$', '\n']
  for (const [name, compileGlobs] of Object.entries({ compileFqdnGlobs, compileNodeGlobs })) {
    fuzzText(
      `${name}() compiles or refuses any glob`,
      {
        corpus: 'glob',
        tokens: globs,
        target: (text) => expect(compileGlobs([text, 'x']).matches(NAME)).toBeTypeOf('boolean'),
      },
      { refuses: plainError },
    )
  }

  fuzzText(
    'compileRegex() compiles in bounded time or refuses any expression',
    {
      corpus: 'regex',
      tokens: [
        '(',
        ')',
        '[',
        ']',
        '*',
        '+',
        '?',
        '{2}',
        '{9,99}',
        'a',
        '\\',
        '|',
        '^',
        '(?i)',
        '\\Q',
        '\\pL',
        '.',
        '-',
      ],
      target: (text) => {
        // Nothing longer is ever measured: compileRegex() refuses it first.
        if (text.length <= MAX_REGEX_LENGTH) expect(regexSize(text)).toBeGreaterThanOrEqual(0)
        expect(compileRegex(text).test('aaaaaaaaaaaaaaaaaaaaaaaab')).toBeTypeOf('boolean')
      },
    },
    // the largest expression that is accepted takes 100 ms; the rest is for a machine that does other things too
    { refuses: (error) => error instanceof Error, maxMs: 1000 },
  )

  fuzzText(
    'compileCel() compiles or refuses any expression, and evaluation ends',
    {
      corpus: 'cel',
      tokens: [
        ...[
          '_flow',
          '.',
          'source',
          'labels',
          '.exists(',
          'x',
          ',',
          ')',
          '(',
          '==',
          '&&',
          '||',
          '"a"',
          '1',
          'u',
          '[',
          ']',
        ],
        ...[
          '{',
          '}',
          ':',
          '?',
          '-',
          '!',
          'has(',
          'l7',
          'size(',
          ' in ',
          '.map(',
          '.all(',
          'timestamp(',
          'duration("1h")',
        ],
        ...['r"', "'''", 'b"', '\\x', '1e9', 'int(', '%', '/', 'null', 'type(', '.matches("a+")'],
      ],
      target: (text) => {
        const program = compileCel(text)
        for (let sequence = 0; sequence < store.end; sequence++) {
          store.seek(view, sequence)
          expect([true, false, undefined]).toContain(program.evaluate(view))
        }
      },
    },
    { refuses: (error) => error instanceof CelSyntaxError, maxMs: 300 },
  )

  fuzzText(
    'parseFlowFilters() and compileFlowFilters() take or refuse any JSON',
    {
      corpus: 'filter-json',
      tokens: [
        '{',
        '}',
        '[',
        ']',
        '"',
        '\\',
        ':',
        ',',
        '"source_ip"',
        '"verdict"',
        '1',
        'null',
        ' ',
        '"a"',
        'true',
        '-1',
      ],
      target: (text) => {
        const predicate = compileFlowFilters(parseFlowFilters(text), [])
        for (let sequence = 0; sequence < store.end; sequence++) {
          store.seek(view, sequence)
          expect(predicate(view)).toBeTypeOf('boolean')
        }
      },
    },
    { refuses: (error) => SluiceError.is(error) && error.code === 'SLUICE_FILTER_INVALID', maxMs: 300 },
  )

  fuzzText('requestPath() takes any request target', {
    corpus: 'request-uri',
    tokens: ['http:', '//', '/', '@', '?', '#', '%2f', '%', '..', ' ', '*', '[', ']', ':80', 'é', '\u0000'],
    target: (text) => {
      const path = requestPath(text)
      if (path !== undefined) expect(path).toBeTypeOf('string')
    },
  })

  fuzzText('readers of addresses agree, and write 16 bytes and no more', {
    corpus: 'address',
    tokens: ['1', '255', '256', '0', '.', ':', '::', 'ffff', '/', '8', '128', '%', 'eth0', ' ', 'g'],
    target: (text) => {
      const out = new Uint8Array(18).fill(0xee)
      const family = parseIp(text, out, 1)
      expect([out[0], out[17]]).toEqual([0xee, 0xee])
      const address = parseAddress(text)
      if (family !== 0) expect(address?.bytes).toEqual(out.slice(1, 17))
      const range = parseCidr(text)
      const prefix = parsePrefix(text)
      if (range === undefined) return
      if (prefix === undefined) throw new Error(`"${text}" is a range for one reader and none for the other`)
      expect(range.bits).toBe(range.family === 4 ? range.prefixLength + 96 : range.prefixLength)
      // As in Go, ::ffff:1.2.3.4/128 is a range of IPv6 and holds no IPv4 address.
      const isMappedText = !prefix.isIpv4 && isMapped(range.bytes, 0)
      expect(prefixContains(prefix, range.bytes, 0)).toBe(!isMappedText)
    },
  })
})
