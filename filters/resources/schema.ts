import { z } from 'zod'
import { PROTOCOL_NAMES } from '../predicate.ts'
import { API_VERSION, METRIC_FAMILIES } from './kinds.ts'
import { LIMITS } from './limits.ts'
import { addressText, DIRECTIONS, IP_VERSIONS, portNumber, TCP_FLAGS, tcpFlags, VERDICTS } from './values.ts'

/**
 * What filter resources may say, once: documents are checked against it, and the CRDs are made of it (crd.ts). `meta()`
 * holds what only the CRD can say: its own patterns, since a refinement here is a function, and CEL rules.
 */

const WANT_TEXT = 'want text: write the value in quotes'

/** Text that is not empty. */
const text = () =>
  z.string(WANT_TEXT).min(1, 'want text that is not empty').max(LIMITS.text, `want at most ${LIMITS.text} characters`)

/**
 * A list; one value may stand without the list around it, as pages that lost their dashes have it. The CRD has the list
 * alone: a structural schema has one type at each place, and CEL rules see nothing of a place without one.
 */
function listOf<T extends z.ZodType>(item: T, what: string, most: number = LIMITS.values) {
  const list = z.array(item, `want a list of ${what}`).max(most, `want at most ${most} ${what}`)
  return z.union([list, item.transform((one): z.output<T>[] => [one])], `want a list of ${what}`)
}

/** meta() of a CEL rule. */
function rule(cel: string, message: string) {
  return { 'x-kubernetes-validations': [{ rule: cel, message }] }
}

/** CEL: a list is there and has elements. */
const holds = (list: string) => `has(self.${list}) && size(self.${list}) > 0`

/** Words in any case; the CRD gets a pattern of them. */
function word(words: Iterable<string>, hint = '') {
  const all = [...words]
  return text()
    .refine((value) => all.includes(value.toLowerCase()), `want one of ${all.join(', ')}${hint}`)
    .meta({ pattern: `^(?i:${all.join('|')})$` })
}

const LABEL_NAME = '[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?'
/** `[source:][dns.subdomain/]name` */
const LABEL_KEY = new RegExp(`^([a-z0-9-]+:)?([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?/)?${LABEL_NAME}$`)
const LABEL_VALUE = new RegExp(`^(${LABEL_NAME})?$`)

const labelKey = text().regex(LABEL_KEY, 'want a label key: [prefix/]name of letters, digits, "-", "_" and "."')
const labelValue = z
  .string(WANT_TEXT)
  .regex(LABEL_VALUE, 'want a label value: at most 63 letters, digits, "-", "_" and "."')

const matchExpression = z
  .strictObject({
    key: labelKey.describe('Label key; k8s.io/namespace stands for the namespace of the pod'),
    operator: z.enum(['In', 'NotIn', 'Exists', 'DoesNotExist'], 'want In, NotIn, Exists or DoesNotExist'),
    values: z
      .array(labelValue, 'want a list of label values')
      .max(LIMITS.values, `want at most ${LIMITS.values} values`)
      .describe('For In and NotIn at least one, for Exists and DoesNotExist none')
      .optional(),
  })
  .superRefine((expression, context) => {
    const wantsValues = expression.operator === 'In' || expression.operator === 'NotIn'
    if (wantsValues === (expression.values ?? []).length > 0) return
    const message = wantsValues
      ? `want at least one value for the operator ${expression.operator}`
      : `want no values for the operator ${expression.operator}`
    context.addIssue({ code: 'custom', path: ['values'], message })
  })
  .meta(
    rule(
      `self.operator in ['In', 'NotIn'] == (${holds('values')})`,
      'want at least one value for the operators In and NotIn, none for Exists and DoesNotExist',
    ),
  )

const labelSelector = z
  .strictObject({
    matchLabels: z
      .record(labelKey, labelValue, 'want key: value')
      .refine((labels) => Object.keys(labels).length <= LIMITS.labels, `want at most ${LIMITS.labels} labels`)
      .meta({ maxProperties: LIMITS.labels })
      .optional(),
    matchExpressions: listOf(matchExpression, 'expressions', LIMITS.labels).optional(),
  })
  .describe('Labels of the pod, all of which must hold; an empty selector matches every flow, null none')

const workload = z.strictObject(
  {
    kind: text().optional().describe('Deployment, StatefulSet, DaemonSet, CronJob ..., exactly'),
    name: text().optional().describe('Name of the owner, exactly'),
  },
  'want an object with kind and name',
)

const port = z.union([z.int(), z.string()], 'want a port from 0 to 65535').refine((value) => {
  return portNumber(value) !== undefined
}, 'want a port from 0 to 65535')

const address = text()
  .refine((value) => addressText(value) !== undefined, 'want an IPv4 or IPv6 address, or a range such as 10.0.0.0/8')
  .meta({ anyOf: [{ format: 'ipv4' }, { format: 'ipv6' }, { format: 'cidr' }] })

const NAMESPACED = 'namespace/name, where name is a prefix; namespace/ is all of a namespace, /name any namespace'

const endpoint = z
  .strictObject({
    namespacedPod: listOf(text(), 'pods').optional().describe(`Pods: ${NAMESPACED}`),
    labelSelector: labelSelector.nullable().optional(),
    ip: listOf(address, 'addresses').optional().describe('Addresses and ranges, IPv4 and IPv6'),
    port: listOf(port, 'ports').optional().describe('TCP, UDP or SCTP ports of this end'),
    service: listOf(text(), 'services').optional().describe(`Services: ${NAMESPACED}`),
    workload: listOf(workload, 'workloads').optional().describe('Owners of pods'),
    fqdn: listOf(text(), 'names')
      .optional()
      .describe('DNS names that the other end had learned; * is any run of characters'),
  })
  .describe('One end of the packet; all fields that are given must match')

const regexes = (of: string) => listOf(text(), 'expressions', 64).optional().describe(`RE2 expressions over ${of}`)

/** A filter: values of a field OR, fields AND. */
export const filterSchema = z.strictObject({
  name: text().optional().describe('For people: shown where the filter is'),
  protocol: listOf(word(PROTOCOL_NAMES), 'protocols', 32)
    .optional()
    .describe('tcp, udp, dns; also icmp, icmpv4, icmpv6, sctp, vrrp, igmp, http, kafka'),
  verdict: listOf(word(VERDICTS.keys()), 'verdicts', 32)
    .optional()
    .describe('forwarded, dropped; also redirected, error, audit, traced, translated, unknown'),
  reason: listOf(text(), 'reasons', 128).optional().describe('Drop reasons by name, such as Policy denied'),
  from: endpoint.optional().describe('Where the packet comes from'),
  to: endpoint.optional().describe('Where the packet goes to'),
  trafficDirection: listOf(word(DIRECTIONS.keys()), 'directions', 8)
    .optional()
    .describe('Of the connection, seen from the pod: ingress, egress, unknown'),
  reply: z.boolean('want true or false').optional().describe('Whether the packet answers one before it'),
  ipVersion: listOf(word(IP_VERSIONS.keys()), 'versions', 8).optional().describe('IPv4, IPv6'),
  tcpFlags: listOf(
    text().refine(
      (value) => tcpFlags(value) !== undefined,
      `want flags with commas between them: ${TCP_FLAGS.join(', ')}`,
    ),
    'flags',
    64,
  )
    .optional()
    .describe('Flags that are set; SYN,ACK wants both'),
  nodeName: listOf(text(), 'nodes').optional().describe('Nodes by name; * is any run of characters'),
  dnsQuery: regexes('the name that a DNS message asks for, which ends in a dot'),
  httpMethod: listOf(text(), 'methods', 64).optional(),
  httpPath: regexes('the path of the URL'),
  httpUrl: regexes('the URL'),
  httpStatusCode: listOf(
    z
      .union([z.int(), text()])
      .refine((value) => isStatusCode(String(value)), 'want a code (404) or the beginning of one (4+, 50+)'),
    'codes',
    128,
  ).optional(),
})
export type FilterSpec = z.output<typeof filterSchema>
export type EndpointSpec = z.output<typeof endpoint>

function isStatusCode(value: string): boolean {
  return /^[1-5](?:[0-9]{2}|[0-9]?\+)$/.test(value)
}

const NO_METRIC_FILTERS = 'want at least one filter to include or to exclude: includeFilters, excludeFilters'
const NO_LOG_FILTERS = 'want at least one filter to include or to exclude: includefilters, excludefilters'

const metricFilters = <T extends z.ZodType>(filter: T) =>
  z
    .strictObject({
      metric: z
        .enum(METRIC_FAMILIES, `want one of ${METRIC_FAMILIES.join(', ')}`)
        .describe('The metric family that the filters are for'),
      includeFilters: listOf(filter, 'filters', LIMITS.filters)
        .optional()
        .describe('Flows that may feed the metric; none: all'),
      excludeFilters: listOf(filter, 'filters', LIMITS.filters)
        .optional()
        .describe('Flows that must not feed the metric'),
    })
    .refine((one) => (one.includeFilters ?? []).length + (one.excludeFilters ?? []).length > 0, NO_METRIC_FILTERS)
    .meta(rule(`(${holds('includeFilters')}) || (${holds('excludeFilters')})`, NO_METRIC_FILTERS))

const metricSpec = <T extends z.ZodType>(filter: T) =>
  z.strictObject({
    filters: listOf(metricFilters(filter), 'metrics', METRIC_FAMILIES.length)
      .superRefine((metrics, context) => {
        const seen = new Map<string, number>()
        for (const [index, { metric }] of metrics.entries()) {
          const first = seen.get(metric)
          if (first === undefined) seen.set(metric, index)
          else {
            const message = `metric ${metric} is there twice, first in filters[${first}]: put the filters of both together`
            context.addIssue({ code: 'custom', path: [index, 'metric'], message })
          }
        }
      })
      .refine((metrics) => metrics.length > 0, 'want at least one metric')
      .meta({ 'x-kubernetes-list-type': 'map', 'x-kubernetes-list-map-keys': ['metric'], minItems: 1 })
      .describe('One entry for each metric family that is filtered'),
    unlisted: z
      .enum(['keep', 'drop'], 'want keep or drop')
      .optional()
      .describe(
        'Metrics that are not named here: keep counts all their flows, drop none. Default: what the agent is configured for',
      ),
  })
export const metricSpecSchema = metricSpec(filterSchema)
export type MetricSpec = z.output<typeof metricSpecSchema>

const logSpec = <T extends z.ZodType>(filter: T) =>
  z
    .strictObject({
      includefilters: listOf(filter, 'filters', LIMITS.filters)
        .optional()
        .describe('Flows that are written; none: all'),
      excludefilters: listOf(filter, 'filters', LIMITS.filters).optional().describe('Flows that are not written'),
    })
    .refine((one) => (one.includefilters ?? []).length + (one.excludefilters ?? []).length > 0, NO_LOG_FILTERS)
    .meta(rule(`(${holds('includefilters')}) || (${holds('excludefilters')})`, NO_LOG_FILTERS))
export const logSpecSchema = logSpec(filterSchema)
export type LogSpec = z.output<typeof logSpecSchema>

const resourceName = z
  .string('want text')
  .max(253, 'want at most 253 characters')
  .regex(
    /^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$/,
    'want a name of lower-case letters, digits, "-" and "."',
  )

const envelope = <T extends z.ZodType>(spec: T) =>
  z.strictObject({
    apiVersion: z.literal(API_VERSION, `want ${API_VERSION}`),
    kind: z.string(),
    metadata: z.looseObject({ name: resourceName }, 'want an object with a name'),
    spec,
    /** Written by whoever serves the resource, not by its author. */
    status: z.unknown().optional(),
  })

/** Documents without a look at their filters, which are many: those are checked one by one. */
const anyFilter = z.unknown().refine((value) => !Array.isArray(value), 'want an object')
export const metricDocumentSchema = envelope(metricSpec(anyFilter))
export const logDocumentSchema = envelope(logSpec(anyFilter))

/** Fields that a filter and an end may have, for messages. */
export const filterFields: readonly string[] = Object.keys(filterSchema.shape)
export const endpointFields: readonly string[] = Object.keys(endpoint.shape)
/** Fields of each kind's spec. */
export const specFields = {
  metrics: Object.keys(metricSpecSchema.shape),
  log: Object.keys(logSpecSchema.shape),
} as const
