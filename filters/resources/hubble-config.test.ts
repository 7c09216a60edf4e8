import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { parse } from 'yaml'
import { finish } from '../../base/steps.ts'
import { type CompiledResource, compileResource } from './compile.ts'
import { readDocument } from './document.ts'
import { readResourceFile } from './file.ts'
import { dynamicMetricsText, type FiltersInForce, flowLogsText, parseDynamicMetrics } from './hubble-config.ts'
import type { FilterSettings } from './rule-set.ts'

function example(name: string): CompiledResource {
  const path = new URL(`../../examples/filters/${name}.yaml`, import.meta.url)
  const { documents } = readResourceFile(readFileSync(path, 'utf8'), name)
  return compileResource(readDocument(documents[0]!.value).resource!).compiled!
}

const settings: FilterSettings = {
  log: { mode: 'resources', allow: [], deny: [] },
  history: 'wanted',
  merge: false,
  unlisted: 'keep',
}
const inForce = (...resources: CompiledResource[]): FiltersInForce => ({ settings, resources, dynamic: new Map() })
const METRICS = [
  { name: 'flow', contextOptions: [{ name: 'sourceEgressContext', values: ['pod'] }] },
  { name: 'dns' },
  { name: 'tcp' },
  { name: 'drop' },
]

describe('dynamicMetricsText()', () => {
  test('says what ACNS says of the same resource', () => {
    expect(parse(finish(dynamicMetricsText(METRICS, inForce(example('all-metrics')))))).toEqual({
      metrics: [
        {
          name: 'flow',
          contextOptions: [{ name: 'sourceEgressContext', values: ['pod'] }],
          excludeFilters: [{ source_pod: ['default/debug-*'] }],
        },
        {
          name: 'dns',
          includeFilters: [{ protocol: ['dns'] }],
          excludeFilters: [{ source_pod: ['kube-system/*'] }],
        },
        { name: 'tcp', includeFilters: [{ protocol: ['tcp'] }, { source_label: ['environment=production'] }] },
        {
          name: 'drop',
          includeFilters: [
            {
              drop_reason_desc: expect.arrayContaining([
                'POLICY_DENIED',
                'INVALID_SOURCE_MAC',
                'INVALID_PACKET_DROPPED',
              ]),
            },
          ],
        },
      ],
    })
  })

  test('leaves out metrics that are off', () => {
    const drop = { ...example('drops-alone'), unlisted: 'drop' as const }
    expect(parse(finish(dynamicMetricsText(METRICS, inForce(drop))))).toEqual({
      metrics: [{ name: 'drop', includeFilters: [{ verdict: ['DROPPED'] }] }],
    })
  })

  test('can be read back as the same filters', () => {
    for (const name of ['template', 'all-metrics', 'one-namespace', 'announcement']) {
      const resource = example(name)
      const { metrics, filters } = parseDynamicMetrics(finish(dynamicMetricsText(METRICS, inForce(resource))), 'x.yaml')
      expect(metrics.map((metric) => metric.name)).toEqual(METRICS.map((metric) => metric.name))
      for (const { consumer, include, exclude } of resource.groups) {
        const own = filters.get(consumer.replace('metric/', ''))!
        const predicates = (list: typeof include) => JSON.stringify(list.map(({ predicate }) => predicate))
        expect(predicates(own.include)).toBe(predicates(include))
        expect(predicates(own.exclude)).toBe(predicates(exclude))
      }
    }
  })
})

describe('flowLogsText()', () => {
  test('says what is written, and {} when nothing is', () => {
    expect(finish(flowLogsText('/x.log', inForce()))).toBe('{}\n')
    expect(parse(finish(flowLogsText('/x.log', inForce(example('retina-log')))))).toEqual({
      flowLogs: [
        {
          name: 'all',
          filePath: '/x.log',
          fieldMask: [],
          includeFilters: [{ source_pod: ['default/'], protocol: ['tcp'] }],
          excludeFilters: [],
        },
      ],
    })
  })
})

describe('parseDynamicMetrics()', () => {
  test('reads metrics, options and filters', () => {
    const { metrics, filters } = parseDynamicMetrics(
      `metrics:
  - name: flow
    contextOptions: [{name: sourceContext, values: [pod, dns]}]
    includeFilters: [{source_pod: [a/], verdict: [DROPPED]}]
    excludeFilters: [{destinationPort: ['53']}]
  - name: drop
`,
      'm.yaml',
    )
    expect(metrics).toEqual([
      { name: 'flow', contextOptions: [{ name: 'sourceContext', values: ['pod', 'dns'] }] },
      { name: 'drop', contextOptions: [] },
    ])
    expect(filters.get('flow')?.include[0]?.origin).toEqual({
      kind: 'dynamic metrics',
      name: 'm.yaml',
      path: 'metrics[0].includeFilters[0]',
      label: '',
      text: 'from pod a/, verdict dropped',
    })
    expect(filters.has('drop')).toBe(false)
  })

  test.each<[string, RegExp]>([
    ['metrics: 5', /m\.yaml:1: "metrics" = 5: want a list of metrics/],
    ['metrics:\n- {nam: x}', /"metrics\[0\]\.nam" is not a known key/],
    ['metrics:\n- {name: flow}\n- {name: flow}', /metrics\[1\]\.name "flow": it is there twice/],
    [
      'metrics:\n- {name: flow, includeFilters: [{source_pods: [a]}]}',
      /metrics\[0\]\.includeFilters\[0\]: .*unknown field "source_pods"/,
    ],
    [
      'metrics:\n- {name: flow, includeFilters: [{source_ip: [x]}], excludeFilters: [{verdict: [NO]}]}',
      /includeFilters\[0\]: .*invalid IP address "x"[\s\S]*excludeFilters\[0\]: .*found "NO"/,
    ],
    [`metrics: ${'['.repeat(5000)}`, /nested too deeply|Flow sequence/],
  ])('refuses %j', (text, message) => {
    expect(() => parseDynamicMetrics(text, 'm.yaml')).toThrow(message)
  })
})
