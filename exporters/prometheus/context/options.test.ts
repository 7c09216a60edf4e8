import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { SluiceError } from '../../../base/errors.ts'
import { contextOptions, metricSpecs, parseMetrics } from './options.ts'

describe('parseMetrics()', () => {
  test.each([
    ['', []],
    [
      '  flow \n\t drop ',
      [
        ['flow', {}],
        ['drop', {}],
      ],
    ],
    ['dns:query;ignoreAAAA', [['dns', { query: [], ignoreaaaa: [] }]]],
    ['dns:', [['dns', {}]]],
    [
      'flow:sourceContext=workload-name|reserved-identity;labelsContext=source_ip,destination_ip',
      [
        [
          'flow',
          { sourcecontext: ['workload-name', 'reserved-identity'], labelscontext: ['source_ip', 'destination_ip'] },
        ],
      ],
    ],
    // Only the first colon parts name and options; a comma in another option is part of the value.
    ['http:a=b:c;x=1,2', [['http', { a: ['b:c'], x: ['1,2'] }]]],
    ['tcp:sourceContext=pod||ip;;', [['tcp', { sourcecontext: ['pod', 'ip'] }]]],
    ['flow:SOURCECONTEXT=pod', [['flow', { sourcecontext: ['pod'] }]]],
    ['httpV2:exemplars=true', [['httpV2', { exemplars: ['true'] }]]],
  ])('reads %j', (text, wanted) => {
    const got = parseMetrics(text).map((spec) => [spec.name, Object.fromEntries(spec.options)])
    expect(got).toEqual(wanted)
  })
})

describe('metricSpecs()', () => {
  test('reads the structured form as the static string', () => {
    const specs = metricSpecs([
      {
        name: 'dns',
        contextOptions: [
          { name: 'query' },
          { name: 'sourceContext', values: ['pod', 'dns'] },
          { name: 'labelsContext', values: ['source_ip'] },
        ],
      },
    ])
    expect(specs).toEqual(parseMetrics('dns:query;sourceContext=pod|dns;labelsContext=source_ip'))
  })

  test.each([
    [[{ name: '' }], /metrics\[0\]\.name is ""/],
    [[{ name: 'flow' }, { name: 'flow' }], /metrics\[1\]\.name "flow" is there twice/],
  ])('refuses %j', (configs, message) => {
    expect(() => metricSpecs(configs)).toThrow(message)
  })
})

describe('contextOptions()', () => {
  test('puts labelsContext in the fixed order and drops duplicates', () => {
    const [spec] = parseMetrics('flow:labelsContext=traffic_direction,destination_ip,source_pod,destination_ip')
    expect(contextOptions(spec!).labels).toEqual(['source_pod', 'destination_ip', 'traffic_direction'])
  })

  test.each([
    ['flow:sourceContext=pod|podname', /Metric "flow" option sourceContext .* "podname", want one of identity, /],
    ['flow:destinationIngressContext=x', /option destinationIngressContext .* "x"/],
    ['drop:labelsContext=source_ip,src', /Metric "drop" option labelsContext .* "src", want one of source_ip, /],
  ])('refuses %s naming option, value and what there is', (text, message) => {
    const [spec] = parseMetrics(text)
    expect(() => contextOptions(spec!)).toThrow(
      expect.objectContaining({ code: 'SLUICE_CONFIG_INVALID', message: expect.stringMatching(message) }),
    )
  })
})

test('any static string gives specs, or an error that names the metric', () => {
  const piece = fc.constantFrom(
    'flow',
    ':',
    ';',
    '=',
    '|',
    ',',
    ' ',
    'sourceContext',
    'pod',
    'labelsContext',
    'source_ip',
  )
  const text = fc.oneof(
    fc.string(),
    fc.array(piece).map((pieces) => pieces.join('')),
  )
  fc.assert(
    fc.property(text, (metrics) => {
      for (const spec of parseMetrics(metrics)) {
        expect(spec.name).not.toMatch(/[\s:]/)
        try {
          contextOptions(spec)
        } catch (error) {
          expect(SluiceError.is(error) && error.message.startsWith(`Metric "${spec.name}" option `)).toBe(true)
        }
      }
    }),
    { numRuns: 500 },
  )
})
