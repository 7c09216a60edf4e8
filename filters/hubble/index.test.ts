import { describe, expect, test } from 'vitest'
import { SluiceError } from '../../base/errors.ts'
import { type FlowSpec, TestFlowStore } from '../../test/helpers/flow-store.ts'
import { compileFlowFilters, type FlowFilterMessage } from './index.ts'
import { MAX_FILTERS, MAX_TEXT, MAX_VALUES } from './limits.ts'

/** Does the filter keep the flow? */
function matches(filter: FlowFilterMessage, spec: FlowSpec): boolean {
  return keeps([filter], [], spec)
}

function keeps(whitelist: FlowFilterMessage[], blacklist: FlowFilterMessage[], spec: FlowSpec): boolean {
  const store = new TestFlowStore(4, { nodeName: 'cl1/node-1', nodeLabels: ['zone=a'] })
  store.push(spec)
  const view = store.createView()
  store.seek(view, 0)
  return compileFlowFilters(whitelist, blacklist)(view)
}

const HTTP = {
  type: 2,
  latencyNs: 5,
  traceId: 'abc',
  http: { code: 404, method: 'GET', url: '/cart/7?x', protocol: 'HTTP/1.1', headers: [{ key: 'Host', value: 'shop' }] },
}
const DNS = {
  type: 1,
  latencyNs: 0,
  traceId: '',
  dns: {
    query: 'api.example.com.',
    ips: [],
    ttl: 0,
    cnames: [],
    observationSource: 'kernel',
    rcode: 0,
    qtypes: ['A'],
    rrtypes: [],
  },
}

describe('compileFlowFilters()', () => {
  test('keeps what any filter of the whitelist and none of the blacklist matches', () => {
    const tcp: FlowFilterMessage = { protocol: ['tcp'] }
    const port80: FlowFilterMessage = { destination_port: ['80'] }
    expect(keeps([], [], {})).toBe(true)
    expect(keeps([{ protocol: ['udp'] }, port80], [], {})).toBe(true)
    expect(keeps([{ protocol: ['udp'], destination_port: ['80'] }], [], {})).toBe(false)
    expect(keeps([], [port80], {})).toBe(false)
    expect(keeps([tcp], [port80], {})).toBe(false)
    expect(keeps([tcp], [{ destination_port: ['81'] }], {})).toBe(true)
    expect(keeps([], [{}], {})).toBe(false)
    expect(compileFlowFilters(undefined, undefined)).toBeTypeOf('function')
  })

  test('takes empty and missing fields for no constraint', () => {
    expect(matches({ source_pod: [], verdict: undefined, experimental: { cel_expression: [] } }, {})).toBe(true)
  })

  // Random filters are compared with Hubble's answers in golden.test.ts; these are one of each, to read.
  test.each<[FlowFilterMessage, FlowSpec, boolean]>([
    [{ verdict: [2] }, { verdict: 2 }, true],
    [{ drop_reason_desc: [133] }, { verdict: 2, hubbleReason: 133 }, true],
    [{ drop_reason_desc: [0] }, { verdict: 1 }, false],
    [{ reply: [false] }, { isReply: undefined }, false],
    [{ reply: [false] }, { isReply: undefined, verdict: 2 }, true],
    [{ encrypted: [true] }, { encrypted: true }, true],
    [{ source_identity: [7] }, { source: { identity: 7 } }, true],
    [{ protocol: ['ICMP'] }, { protocol: 58 }, true],
    [{ protocol: ['http'] }, { l7: HTTP }, true],
    [{ protocol: ['tcp'] }, { l7: HTTP }, true],
    [{ source_ip: ['fd00::1'] }, { srcIp: 'fd00::1', dstIp: 'fd00::2' }, true],
    [{ source_ip: ['fd00:0::1'] }, { srcIp: 'fd00::1', dstIp: 'fd00::2' }, false],
    [{ destination_ip: ['10.0.0.0/30'] }, { dstIp: '10.0.0.3' }, true],
    [{ source_ip_xlated: ['10.0.0.1'] }, {}, false],
    [{ source_pod: ['web'] }, { source: { namespace: 'default', podName: 'web-1' } }, true],
    [{ source_pod: ['web'] }, { source: { namespace: 'shop', podName: 'web-1' } }, false],
    [{ destination_pod: ['shop/'] }, { destination: { namespace: 'shop', podName: 'web-1' } }, true],
    [{ destination_pod: ['/web'] }, { destination: { namespace: 'shop', podName: 'web-1' } }, true],
    [{ destination_pod: ['/'] }, { destination: {} }, false],
    [{ destination_pod: ['shop/*'] }, { destination: { namespace: 'shop', podName: 'web-1' } }, false],
    [{ source_workload: [{ kind: 'Job' }] }, { source: { workloads: [{ name: 'x', kind: 'Job' }] } }, true],
    [{ destination_service: ['shop/we'] }, { destinationService: { name: 'web', namespace: 'shop' } }, true],
    [{ destination_service: ['/'] }, {}, false],
    [{ destination_fqdn: ['*.example.com'] }, { destinationNames: ['x', 'api.example.com'] }, true],
    [{ dns_query: ['^api\\.'] }, { l7: DNS }, true],
    [{ dns_query: [''] }, { l7: HTTP }, false],
    [{ source_label: ['app=web,!x'] }, { source: { labels: ['k8s:app=web'] } }, true],
    [{ node_labels: ['zone in (a,b)'] }, {}, true],
    [{ source_port: ['040000'] }, {}, true],
    [{ source_port: ['0'] }, { protocol: 1, srcPort: 0 }, false],
    [{ http_status_code: ['40+'] }, { l7: HTTP }, true],
    [{ http_status_code: ['200', '5+'] }, { l7: HTTP }, false],
    [{ http_method: ['get'] }, { l7: HTTP }, true],
    [{ http_path: ['^/cart/\\d$'] }, { l7: HTTP }, true],
    [{ http_url: ['\\?x$'] }, { l7: HTTP }, true],
    [{ http_header: [{ key: 'Host', value: 'shop' }] }, { l7: HTTP }, true],
    [{ http_header: [{ key: 'host', value: 'shop' }] }, { l7: HTTP }, false],
    [{ http_method: ['GET'], event_type: [{ type: 4 }, { type: 129 }] }, { l7: HTTP }, true],
    [{ tcp_flags: [{ SYN: true, ACK: true }] }, { l4Info: 0x12 | 8 }, true],
    [{ tcp_flags: [{}] }, { l7: HTTP }, false],
    [{ node_name: ['cl1/node-*'] }, {}, true],
    [{ source_cluster_name: ['cl*'] }, { source: { clusterName: 'cl1' } }, false],
    [{ ip_version: [2] }, { srcIp: 'fd00::1', dstIp: 'fd00::2' }, true],
    [{ trace_id: ['abc'] }, { l7: HTTP }, true],
    [{ traffic_direction: [0] }, { direction: 'unknown' }, true],
    [{ event_type: [{ type: 1, match_sub_type: true, sub_type: 133 }] }, { verdict: 2, hubbleReason: 133 }, true],
    [{ event_type: [{ type: 4, match_sub_type: true, sub_type: 0 }] }, { point: 101 }, true],
    [{ interface: [{ name: 'veth7' }] }, { ifindex: 7 }, true],
    [{ interface: [{ index: 7, name: 'veth8' }] }, { ifindex: 7 }, false],
    [{ ip_trace_id: ['0'] }, {}, true],
    [{ ip_trace_id: ['5'] }, {}, false],
    [{ experimental: { cel_expression: ['_flow.l4.TCP.destination_port == uint(80)'] } }, {}, true],
  ])('%j', (filter, spec, answer) => {
    expect(matches(filter, spec)).toBe(answer)
  })

  test('finds a flow by the uuid that it shows', () => {
    const store = new TestFlowStore()
    store.push({}, {})
    const view = store.createView()
    store.seek(view, 1)
    const { uuid } = view
    const isIt = compileFlowFilters([{ uuid: ['x', uuid] }], [])
    const answers = [0, 1].map((sequence) => {
      store.seek(view, sequence)
      return isIt(view)
    })
    expect(answers).toEqual([false, true])
    expect(compileFlowFilters([{ uuid: [uuid.toUpperCase()] }], [])(view)).toBe(false)
  })

  test.each<[FlowFilterMessage, string]>([
    [{ protocol: ['quic'] }, 'invalid protocol filter: unknown protocol: "quic"; want one of icmp'],
    [{ source_ip: ['10.0.0'] }, 'invalid source_ip filter: invalid IP address "10.0.0"'],
    [{ destination_ip: ['10.0.0.0/33'] }, 'invalid destination_ip filter: invalid IP prefix "10.0.0.0/33"'],
    [{ source_ip_xlated: ['x'] }, 'invalid source_ip_xlated filter'],
    [{ source_pod: [''] }, 'invalid source_pod filter: name must not be empty'],
    [{ destination_cluster_name: [''] }, 'invalid destination_cluster_name filter'],
    [{ source_fqdn: ['a/b'] }, `invalid source_fqdn filter: ["a/b"]: '/': invalid rune`],
    [{ node_name: ['a/b/c'] }, 'invalid node_name filter: ["a/b/c"]: too many slashes'],
    [{ dns_query: ['('] }, 'invalid dns_query filter: "(": error parsing regexp: missing closing )'],
    [{ http_path: ['a**'] }, 'invalid http_path filter: "a**"'],
    [{ source_label: ['a=b=c'] }, 'invalid source_label filter: "a=b=c": found'],
    [{ node_labels: ['-'] }, 'invalid node_labels filter'],
    [
      { destination_port: ['65536'] },
      'invalid destination_port filter: invalid port "65536"; want a number from 0 to 65535',
    ],
    [{ http_status_code: ['2xx'] }, 'invalid http_status_code filter: invalid status code prefix: "2xx"'],
    [{ http_method: ['GET'], event_type: [{ type: 4 }] }, 'requires the event type filter to match l7 events'],
    [{ ip_trace_id: [-1] }, 'invalid ip_trace_id filter: -1'],
    [
      { experimental: { cel_expression: ['_flow.x'] } },
      'invalid experimental.cel_expression filter: "_flow.x": undefined field',
    ],
  ])('refuses %j and names field and value', (filter, message) => {
    const build = () => compileFlowFilters([], [filter])
    expect(build).toThrow(message)
    try {
      build()
    } catch (error) {
      expect(SluiceError.is(error) && error.code).toBe('SLUICE_FILTER_INVALID')
    }
  })

  test.each<[string, FlowFilterMessage[]]>([
    ['filters', Array.from({ length: MAX_FILTERS + 1 }, () => ({}))],
    ['values', [{ source_port: Array.from({ length: MAX_VALUES + 1 }, () => '80') }]],
    ['characters', [{ uuid: ['x'.repeat(MAX_TEXT + 1)] }]],
    ['atoms of expressions', Array.from({ length: 6 }, (_, i) => ({ dns_query: [`[a-z]{900}[0-9]{999}${i}`] }))],
    ['atoms of expressions', Array.from({ length: 100 }, () => ({ node_name: ['*'.repeat(500)] }))],
  ])('refuses a list with too many %s without building it', (what, filters) => {
    const start = performance.now()
    expect(() => compileFlowFilters(filters, [])).toThrow(
      new RegExp(`invalid whitelist filter: [0-9]+ ${what} or more`),
    )
    expect(performance.now() - start).toBeLessThan(300)
  })
})
