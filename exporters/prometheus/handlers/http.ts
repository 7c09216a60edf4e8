import type { FlowView } from '../../../model/flow-view.ts'
import { type L7Record, L7Type } from '../../../model/l7.ts'
import type { WordKind } from '../series/family.ts'
import { type FamilyShape, type HandlerDefinition, type HandlerKit, KIND, numberLabel, valueLabel } from './handler.ts'
import { reporterName } from './names.ts'

const REPORTER = { name: 'reporter', word: 0, text: reporterName }
const WORDS: WordKind[] = ['closed', 'value', 'value']
const METHOD = valueLabel('method', 1)
const PROTOCOL = valueLabel('protocol', 2)

const REQUESTS = { name: 'hubble_http_requests_total', help: 'Count of HTTP requests by methods' }
const RESPONSES = {
  name: 'hubble_http_responses_total',
  help: 'Count of HTTP responses by status codes',
  words: [...WORDS, 'open'] as WordKind[],
  labels: [METHOD, PROTOCOL, numberLabel('status', 3), REPORTER],
  contextFirst: true,
}
const DURATION: FamilyShape = {
  name: 'hubble_http_request_duration_seconds',
  help: 'Quantiles of HTTP request duration in seconds',
  words: ['closed', 'value'],
  labels: [METHOD, REPORTER],
  contextFirst: true,
}

/** HTTP requests and responses, each counted where it is seen. */
export const httpHandler: HandlerDefinition = {
  name: 'http',
  counts: 'HTTP requests and responses, each where it is seen',
  interest: { kinds: KIND.HTTP },
  options: {
    exemplars: 'with the value true, traced messages carry exemplars in OpenMetrics',
  },
  conflictsWith: ['httpV2'],
  create(kit) {
    const exemplars = wantsExemplars(kit)
    const requests = kit.counter(
      { ...REQUESTS, words: WORDS, labels: [METHOD, PROTOCOL, REPORTER], contextFirst: true },
      exemplars,
    )
    const responses = kit.counter(RESPONSES, exemplars)
    const duration = durationOf(kit, exemplars)
    const countRequest = messageCounter(kit, requests, exemplars)
    const countResponse = messageCounter(kit, responses, exemplars)
    return {
      families: [requests, responses, duration.family],
      count(view) {
        if (!view.isL7) return
        const l7 = view.l7
        if (l7?.http === undefined) return
        if (l7.type === L7Type.REQUEST) countRequest(view, l7, false)
        if (l7.type !== L7Type.RESPONSE) return
        countResponse(view, l7, true)
        duration.observe(view, l7)
      },
    }
  },
}

/**
 * HTTP requests, counted when their response is seen, labelled from the requester's view. With the option `responses`
 * also hubble_http_responses_total, so that dashboards written for either handler fill.
 */
export const httpV2Handler: HandlerDefinition = {
  name: 'httpV2',
  counts: 'HTTP responses, labelled from the requester’s view',
  interest: { kinds: KIND.HTTP },
  options: {
    exemplars: 'with the value true, traced messages carry exemplars in OpenMetrics',
    responses: 'also writes hubble_http_responses_total',
  },
  swapsEnds: true,
  conflictsWith: ['http'],
  create(kit) {
    const exemplars = wantsExemplars(kit)
    const requests = kit.counter({ ...RESPONSES, ...REQUESTS }, exemplars)
    const responses = kit.options.has('responses') ? kit.counter(RESPONSES, exemplars) : undefined
    const duration = durationOf(kit, exemplars)
    const countRequest = messageCounter(kit, requests, exemplars)
    const countResponse = responses && messageCounter(kit, responses, exemplars)
    return {
      families: responses ? [requests, responses, duration.family] : [requests, duration.family],
      count(view) {
        if (!view.isL7) return
        const l7 = view.l7
        if (l7?.http === undefined || l7.type !== L7Type.RESPONSE) return
        countRequest(view, l7, true)
        countResponse?.(view, l7, true)
        duration.observe(view, l7)
      },
    }
  },
}

function wantsExemplars(kit: HandlerKit): boolean {
  return kit.options.get('exemplars')?.[0] === 'true'
}

function messageCounter(kit: HandlerKit, family: ReturnType<HandlerKit['counter']>, exemplars: boolean) {
  const { context, values } = kit
  const { key } = family
  return (view: FlowView, l7: L7Record, withStatus: boolean) => {
    const http = l7.http!
    key[0] = view.trafficDirection
    key[1] = values.intern(http.method)
    key[2] = values.intern(http.protocol)
    if (withStatus) key[3] = http.code
    context.fill(view, key, withStatus ? 4 : 3)
    if (exemplars && l7.traceId !== '') family.incrementTraced(l7.traceId, seconds(view))
    else family.increment()
  }
}

/** A response whose request was not seen has no duration: it is not observed, where upstream observes 0. */
function durationOf(kit: HandlerKit, exemplars: boolean) {
  const { context, values } = kit
  const family = kit.histogram(DURATION, exemplars)
  const { key } = family
  const observe = (view: FlowView, l7: L7Record) => {
    if (l7.latencyNs <= 0) return
    key[0] = view.trafficDirection
    key[1] = values.intern(l7.http!.method)
    context.fill(view, key, 2)
    family.observe(l7.latencyNs / 1e9, l7.traceId, seconds(view))
  }
  return { family, observe }
}

function seconds(view: FlowView): number {
  return view.timeSecs + view.timeNanos / 1e9
}
