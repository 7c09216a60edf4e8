import { describe, expect } from 'vitest'
import { SluiceError } from '../base/errors.ts'
import { compileResource } from '../filters/resources/compile.ts'
import { readDocument } from '../filters/resources/document.ts'
import { readResourceFile } from '../filters/resources/file.ts'
import { parseDynamicMetrics } from '../filters/resources/hubble-config.ts'
import { problemText } from '../filters/resources/problem.ts'
import { fuzzText } from '../test/helpers/fuzz.ts'

const tokens = [
  ...['apiVersion: acn.azure.com/v1alpha1\n', 'kind: ContainerNetworkMetric\n', 'kind: ContainerNetworkLog\n'],
  ...['metadata: {name: x}\n', 'spec:\n', '  filters:\n', '  includefilters:\n', '    - ', '      ', '\n', '---\n'],
  ...['metric: flow\n', 'includeFilters:\n', 'from:', ' {', '}', '[', ']', ', ', ': ', "'", '"', '*a', '&a ', '~'],
  ...['namespacedPod', 'labelSelector', 'matchLabels', 'ip', '10.0.0.1', 'protocol', 'tcp', 'verdict', 'httpPath', '('],
]

describe('fuzz: filter resources', () => {
  fuzzText(
    'files of resources are read and compiled, or told what is wrong',
    {
      corpus: 'filter-resource',
      tokens,
      target: (text) => {
        const { documents, problems } = readResourceFile(text, 'x.yaml')
        for (const problem of problems) expect(problem.length).toBeLessThan(2000)
        for (const document of documents) {
          const { resource, mistakes } = readDocument(document.value)
          if (resource === undefined) {
            expect(mistakes.length).toBeGreaterThan(0)
            for (const mistake of mistakes) expect(problemText(mistake, document)).toMatch(/^x\.yaml:\d+: /)
            continue
          }
          const result = compileResource(resource)
          expect(result.compiled !== undefined || result.mistakes.length > 0).toBe(true)
        }
      },
    },
    // As for other YAML: 64 KiB of nothing but aliases take the yaml package up to two seconds.
    { maxMs: 6000 },
  )

  fuzzText(
    'parseDynamicMetrics() reads or refuses any text',
    {
      corpus: 'filter-resource',
      tokens: [...tokens, 'metrics:\n', '- name: flow\n', '  includeFilters: [{source_pod: [a/]}]\n', '{verdict: [2]}'],
      target: (text) => expect(parseDynamicMetrics(text, 'x.yaml').metrics).toBeInstanceOf(Array),
    },
    {
      refuses: (error) =>
        SluiceError.is(error) && error.code === 'SLUICE_FILTER_INVALID' && error.message.length < 20_000,
      maxMs: 6000,
    },
  )
})
