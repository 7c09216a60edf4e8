import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { parse } from 'yaml'
import { customResourceDefinition, customResourceDefinitions } from './crd.ts'
import { RESOURCE_KINDS } from './kinds.ts'

interface Node {
  readonly type?: string
  readonly properties?: Readonly<Record<string, Node>>
  readonly items?: Node
  readonly additionalProperties?: Node | boolean
  readonly maxItems?: number
  readonly anyOf?: readonly Node[]
  readonly 'x-kubernetes-int-or-string'?: boolean
  readonly 'x-kubernetes-validations'?: readonly { readonly rule: string; readonly message: string }[]
}

function* nodes(node: Node, path: string): Generator<[string, Node]> {
  yield [path, node]
  for (const [name, inner] of Object.entries(node.properties ?? {})) yield* nodes(inner, `${path}.${name}`)
  if (node.items !== undefined) yield* nodes(node.items, `${path}[]`)
  if (typeof node.additionalProperties === 'object') yield* nodes(node.additionalProperties, `${path}{}`)
}

describe.each(RESOURCE_KINDS)('customResourceDefinition($kind)', (kind) => {
  const definition = customResourceDefinition(kind) as { spec: { versions: [{ schema: { openAPIV3Schema: Node } }] } }
  const schema = definition.spec.versions[0].schema.openAPIV3Schema

  test('has a structural schema: one type at each place, lists with bounds', () => {
    for (const [path, node] of nodes(schema, '')) {
      if (node['x-kubernetes-int-or-string'] === true) expect([path, node.type]).toEqual([path, undefined])
      else expect([path, node.type]).toEqual([path, expect.any(String)])
      if (node.type === 'array')
        expect([path, node.maxItems, node.items]).toEqual([path, expect.any(Number), expect.any(Object)])
      expect(node.additionalProperties).not.toBe(false)
      for (const form of node.anyOf ?? []) expect(Object.keys(form)).toEqual(['format'])
    }
  })

  test('has rules in CEL where a pattern does not do', () => {
    const rules = [...nodes(schema, '')].flatMap(([path, node]) =>
      (node['x-kubernetes-validations'] ?? []).map(({ rule }) => `${path}: ${rule}`),
    )
    const [include, exclude] =
      kind.about === 'metrics' ? ['includeFilters', 'excludeFilters'] : ['includefilters', 'excludefilters']
    const holder = kind.about === 'metrics' ? '.spec.filters[]' : '.spec'
    expect(rules).toContain(
      `${holder}: (has(self.${include}) && size(self.${include}) > 0) || (has(self.${exclude}) && size(self.${exclude}) > 0)`,
    )
    expect(rules.filter((rule) => rule.includes('self.operator in'))).toHaveLength(4)
  })

  test('shows state and filters, and has a status of its own', () => {
    expect(definition.spec).toMatchObject({
      scope: 'Cluster',
      names: { kind: kind.kind, plural: `${kind.kind.toLowerCase()}s`, shortNames: [kind.shortName] },
      versions: [{ name: 'v1alpha1', subresources: { status: {} } }],
    })
    const columns = (definition.spec.versions[0] as unknown as { additionalPrinterColumns: { name: string }[] })
      .additionalPrinterColumns
    expect(columns.map(({ name }) => name)).toEqual(['State', 'Filters', 'Message', 'Reason', 'Age'])
  })
})

test.each(customResourceDefinitions())('deploy/crds/$file is what the schema makes', ({ file, definition }) => {
  const text = readFileSync(new URL(`../../deploy/crds/${file}`, import.meta.url), 'utf8')
  expect(parse(text)).toEqual(JSON.parse(JSON.stringify(definition)))
})
