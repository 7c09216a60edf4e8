import { z } from 'zod'
import { API_VERSION, GROUP, RESOURCE_KINDS, type ResourceKind, VERSION } from './kinds.ts'
import { LIMITS } from './limits.ts'
import { logSpecSchema, metricSpecSchema } from './schema.ts'

type JsonSchema = z.core.JSONSchema.BaseSchema

/**
 * The CustomResourceDefinition of a kind, as JSON values. Its schema is structural and says what documents are checked
 * for, but for two things: one value in place of a list is for files alone, and what needs more than a pattern or a CEL
 * rule (a regular expression compiles, a drop reason exists) is told in the status.
 */
export function customResourceDefinition(kind: ResourceKind): object {
  return {
    apiVersion: 'apiextensions.k8s.io/v1',
    kind: 'CustomResourceDefinition',
    metadata: {
      name: `${kind.plural}.${GROUP}`,
      labels: { 'app.kubernetes.io/name': 'sluice', 'app.kubernetes.io/component': 'filters' },
    },
    spec: {
      group: GROUP,
      scope: 'Cluster',
      names: {
        kind: kind.kind,
        listKind: `${kind.kind}List`,
        plural: kind.plural,
        singular: kind.singular,
        shortNames: [kind.shortName],
        categories: ['sluice'],
      },
      versions: [
        {
          name: VERSION,
          served: true,
          storage: true,
          subresources: { status: {} },
          additionalPrinterColumns: PRINTER_COLUMNS,
          schema: { openAPIV3Schema: documentSchema(kind) },
        },
      ],
    },
  }
}

/** All of them. */
export function customResourceDefinitions(): { readonly file: string; readonly definition: object }[] {
  return RESOURCE_KINDS.map((kind) => ({
    file: `${GROUP}_${kind.plural}.yaml`,
    definition: customResourceDefinition(kind),
  }))
}

const PRINTER_COLUMNS = [
  { name: 'State', type: 'string', jsonPath: '.status.state', description: 'CONFIGURED or FAILED' },
  { name: 'Filters', type: 'integer', jsonPath: '.status.filters', description: 'Filters in force' },
  { name: 'Message', type: 'string', jsonPath: '.status.message', description: 'What became of it, and why' },
  { name: 'Reason', type: 'string', jsonPath: '.status.reason', priority: 1 },
  { name: 'Age', type: 'date', jsonPath: '.metadata.creationTimestamp' },
]

function documentSchema(kind: ResourceKind): object {
  const about =
    kind.about === 'metrics'
      ? 'Which flows feed which metrics. Without one, all flows feed all metrics.'
      : 'Which flows are written to the log. Without one, none is.'
  return {
    type: 'object',
    description: `${kind.kind} (${API_VERSION}). ${about}`,
    required: ['spec'],
    properties: {
      apiVersion: { type: 'string' },
      kind: { type: 'string' },
      metadata: { type: 'object' },
      spec: specSchema(kind),
      status: STATUS,
    },
  }
}

function specSchema(kind: ResourceKind): object {
  const schema = kind.about === 'metrics' ? metricSpecSchema : logSpecSchema
  const { $schema: _, ...made } = z.toJSONSchema(schema, {
    io: 'input',
    target: 'openapi-3.0',
    unrepresentable: 'any',
  })
  structural(made)
  return made
}

/** Turns a schema into what a structural one allows, in place. */
function structural(node: JsonSchema): void {
  const { properties, items, additionalProperties, anyOf } = node
  for (const inner of [...Object.values(properties ?? {}), items, additionalProperties, ...(anyOf ?? [])]) {
    if (typeof inner === 'object' && !Array.isArray(inner)) structural(inner)
  }
  // A structural schema knows no closed objects: unknown fields are pruned, and named where the client asks for it.
  if (node.additionalProperties === false) delete node.additionalProperties
  delete node.propertyNames
  const forms = node.anyOf
  const types = (forms ?? []).map((form) => (typeof form === 'object' ? form.type : undefined))
  const list = types.indexOf('array')
  if (list >= 0) {
    delete node.anyOf
    // What was said of the place stands before what is said of its form.
    Object.assign(node, { ...(forms![list] as JsonSchema), ...node })
  } else if (types.includes('integer')) {
    delete node.anyOf
    node['x-kubernetes-int-or-string'] = true
  }
}

const text = (description: string, maxLength = 1024) => ({ type: 'string', description, maxLength })
const time = (description: string) => ({ type: 'string', format: 'date-time', description })

const STATUS = {
  type: 'object',
  description: 'Written by the agents: one of them for all.',
  properties: {
    state: { type: 'string', enum: ['CONFIGURED', 'FAILED'], description: 'CONFIGURED: the filters are in force.' },
    reason: text('One word for the message: Configured, Invalid, Ignored, LimitExceeded, ApplyFailed.', 64),
    message: text('What became of it; what is wrong, where, and what is wanted.', 32_768),
    warnings: {
      type: 'array',
      maxItems: LIMITS.mistakes + 1,
      items: text('One sentence.', 2048),
      description: 'What is accepted and hardly meant.',
    },
    observedGeneration: { type: 'integer', format: 'int64', minimum: 0 },
    filters: { type: 'integer', format: 'int32', minimum: 0, description: 'Filters of this resource in force.' },
    timestamp: time('When the state became what it is.'),
    conditions: {
      type: 'array',
      maxItems: 8,
      'x-kubernetes-list-type': 'map',
      'x-kubernetes-list-map-keys': ['type'],
      items: {
        type: 'object',
        required: ['type', 'status', 'lastTransitionTime', 'reason', 'message'],
        properties: {
          type: text('Accepted: the document is well formed. Applied: its filters are in force.', 64),
          status: { type: 'string', enum: ['True', 'False', 'Unknown'] },
          reason: text('As the reason of the status.', 64),
          message: text('For people.', 32_768),
          lastTransitionTime: time('When the status last changed.'),
          observedGeneration: { type: 'integer', format: 'int64', minimum: 0 },
        },
      },
    },
  },
}
