import { POOL } from './flows.ts'
import type { Random } from './random.ts'

type Make = (random: Random, depth: number) => string

const TEXT_FIELDS = [
  '_flow.source.pod_name',
  '_flow.destination.namespace',
  '_flow.IP.source',
  '_flow.IP.destination',
  '_flow.l7.http.method',
  '_flow.l7.http.url',
  '_flow.l7.dns.query',
  '_flow.node_name',
  '_flow.source_service.name',
  '_flow.trace_context.parent.trace_id',
  '_flow.source.cluster_name',
]
const UINT_FIELDS = [
  '_flow.l4.TCP.destination_port',
  '_flow.l4.UDP.source_port',
  '_flow.source.identity',
  '_flow.l7.http.code',
  '_flow.l7.latency_ns',
  '_flow.l4.ICMPv4.type',
  '_flow.interface.index',
  '_flow.ip_trace_id.trace_id',
]
const INT_FIELDS = [
  '_flow.verdict',
  '_flow.Type',
  '_flow.traffic_direction',
  '_flow.event_type.type',
  '_flow.event_type.sub_type',
  '_flow.IP.ipVersion',
  '_flow.l7.type',
  '_flow.drop_reason_desc',
]
const BOOL_FIELDS = ['_flow.l4.TCP.flags.SYN', '_flow.IP.encrypted', '_flow.is_reply', '_flow.l4.TCP.flags.ACK']
const LIST_FIELDS = ['_flow.source.labels', '_flow.destination_names', '_flow.node_labels', '_flow.l7.dns.ips']
const MESSAGES = [
  '_flow.l4.TCP',
  '_flow.l4.UDP',
  '_flow.l7.dns',
  '_flow.l7.http',
  '_flow.source_service',
  '_flow.is_reply',
  '_flow.IP.source',
  '_flow.l4.TCP.destination_port',
  '_flow.destination.labels',
  '_flow.interface',
  '_flow.verdict',
  '_flow.tunnel',
  '_flow.time',
]
const ENUMS = [
  'Verdict.DROPPED',
  'Verdict.FORWARDED',
  'flow.Verdict.REDIRECTED',
  'FlowType.L7',
  'IPVersion.IPv6',
  'TrafficDirection.EGRESS',
  'DropReason.POLICY_DENIED',
  '.flow.L7FlowType.REQUEST',
  'TraceObservationPoint.TO_ENDPOINT',
]
const TEXTS = [
  "'cart'",
  "''",
  '"shop"',
  "'GET'",
  "'10.0.0.1'",
  "r'/api\\d'",
  "'web-5f7d'",
  "'\\x41\\u00e9\\n'",
  '"""tri"ple"""',
  "'default'",
]
const PATTERNS = ["'^10\\\\.'", "'api'", "'(?i)GET'", "'['", "r'^/[a-z]+$'", "'.*'"]
const NUMBERS = ['0', '1', '2', '4', '129', '-1', '0x10', '9223372036854775807']
const RELATIONS = ['==', '!=', '<', '<=', '>', '>=']

const text: Make = (random, depth) =>
  random.pick<Make>([
    () => random.pick(TEXT_FIELDS),
    () => random.pick(TEXT_FIELDS),
    () => random.pick(TEXTS),
    () => (depth > 0 ? `(${text(random, depth - 1)} + ${text(random, depth - 1)})` : random.pick(TEXT_FIELDS)),
    () => `string(${depth > 0 ? random.pick([int, uint, text])(random, depth - 1) : '1'})`,
    () =>
      depth > 0 ? `(${bool(random, depth - 1)} ? ${text(random, depth - 1)} : ${text(random, depth - 1)})` : "'x'",
  ])(random, depth)

const int: Make = (random, depth) =>
  random.pick<Make>([
    () => random.pick(INT_FIELDS),
    () => random.pick(ENUMS),
    () => random.pick(NUMBERS),
    () => (depth > 0 ? `size(${random.pick([text, list])(random, depth - 1)})` : '3'),
    () =>
      depth > 0
        ? `(${int(random, depth - 1)} ${random.pick(['+', '-', '*', '/', '%'])} ${int(random, depth - 1)})`
        : '5',
    () => (depth > 0 ? `int(${random.pick([uint, text, int])(random, depth - 1)})` : '-2'),
  ])(random, depth)

const uint: Make = (random, depth) =>
  random.pick<Make>([
    () => random.pick(UINT_FIELDS),
    () => random.pick(UINT_FIELDS),
    () => `${random.pick(POOL.ports)}u`,
    () => `uint(${random.pick(NUMBERS)})`,
    () =>
      depth > 0
        ? `(${uint(random, depth - 1)} ${random.pick(['+', '-', '*', '/', '%'])} ${uint(random, depth - 1)})`
        : '1U',
  ])(random, depth)

// Never `[]`: of an empty list cel-go takes the first overload that fits, whatever its elements are used as later.
const list: Make = (random, depth) =>
  random.pick<Make>([
    () => random.pick(LIST_FIELDS),
    () => random.pick(LIST_FIELDS),
    () => `[${random.list(1, 3, () => random.pick(TEXTS)).join(', ')}]`,
    () => (depth > 0 ? `${list(random, depth - 1)}.filter(x, ${itemTest(random, 'x')})` : "['c']"),
    () => (depth > 0 ? `${list(random, depth - 1)}.map(y, y + '!')` : "['a']"),
    () => (depth > 0 ? `(${list(random, depth - 1)} + ${list(random, depth - 1)})` : "['b',]"),
  ])(random, depth)

function itemTest(random: Random, name: string): string {
  return random.pick([
    `${name}.startsWith('k8s:')`,
    `${name}.contains('app')`,
    `${name} == 'k8s:app=cart'`,
    `${name}.matches('^k8s:app=(cart|web)$')`,
    `size(${name}) > 10`,
    `${name}.endsWith('.com') || ${name} in ['localhost']`,
    `${name} in _flow.destination.labels`,
    `true`,
  ])
}

const bool: Make = (random, depth) => {
  if (depth <= 0) return leaf(random)
  return random.pick<Make>([
    () => leaf(random),
    () => leaf(random),
    () => `(${bool(random, depth - 1)} && ${bool(random, depth - 1)})`,
    () => `(${bool(random, depth - 1)} || ${bool(random, depth - 1)})`,
    () => `!${bool(random, depth - 1)}`,
    () => `(${bool(random, depth - 1)} ? ${bool(random, depth - 1)} : ${bool(random, depth - 1)})`,
    () => `(${compare(random, depth - 1)})`,
    () => `(${compare(random, depth - 1)})`,
    () => `${list(random, depth - 1)}.${random.pick(['all', 'exists', 'exists_one'])}(x, ${itemTest(random, 'x')})`,
    () => `${text(random, depth - 1)} in ${list(random, depth - 1)}`,
    () =>
      `${text(random, depth - 1)}.${random.pick(['startsWith', 'endsWith', 'contains'])}(${text(random, depth - 1)})`,
    () => `${text(random, depth - 1)}.matches(${random.pick(PATTERNS)})`,
    () => `${list(random, depth - 1)}[${random.pick(['0', '1', '-1'])}] == ${text(random, depth - 1)}`,
  ])(random, depth)
}

function compare(random: Random, depth: number): string {
  const make = random.pick([text, int, uint])
  return `${make(random, depth)} ${random.pick(RELATIONS)} ${make(random, depth)}`
}

function leaf(random: Random): string {
  return random.pick<() => string>([
    () => random.pick(BOOL_FIELDS),
    () => `has(${random.pick(MESSAGES)})`,
    () => `${random.pick(TEXT_FIELDS)} == ${random.pick(TEXTS)}`,
    () => `${random.pick(UINT_FIELDS)} ${random.pick(RELATIONS)} uint(${random.pick(POOL.ports)})`,
    () => `_flow.verdict == ${random.pick(['Verdict.DROPPED', 'Verdict.FORWARDED', '2'])}`,
    () => random.pick(SPECIALS),
    () => random.pick(SPECIALS),
  ])()
}

/** Corners of the language, valid and not. */
const SPECIALS = [
  'true',
  'false',
  '_flow.is_reply == null',
  '_flow.is_reply == true',
  'dyn(_flow.verdict) == 2.0',
  'dyn(1u) == 1',
  '_flow.source == _flow.destination',
  '_flow.source_service == _flow.destination_service',
  '_flow.source.workloads.exists(w, w.kind == "Deployment" && w.name != "")',
  '_flow.l7.http.headers.exists(h, h.key == "X-Id")',
  '_flow.l7.http.headers.map(h, h.key == "Host", h.value)[0] == "shop"',
  '[1, 2, 3].map(x, x * 2).exists(x, x == 4)',
  '[1, "a", 2u].exists(x, x == "a")',
  '{"a": 1, "b": 2}["b"] == 2',
  '"a" in {"a": 1}',
  '{"a": {"b": true}}.a.b',
  'has({"a": 1}.a)',
  '{1: "x"}[1u] == "x"',
  'type(_flow.verdict) == int',
  'type(_flow) == flow.Flow',
  'type(1u) != uint',
  'type(null) == null_type',
  '_flow.time > timestamp("2026-01-01T00:00:00Z")',
  '_flow.time - duration("1h") < _flow.time',
  '_flow.time.getFullYear() == 2026',
  '_flow.time.getHours("+02:00") == 16',
  '_flow.time.getDayOfWeek("Europe/Berlin") == 1',
  '_flow.time.getDayOfYear() > 200',
  'duration("90s").getMinutes() == 1',
  'duration("1.5s").getMilliseconds() == 1500',
  'duration("1.5s").getMilliseconds() == 500',
  'string(duration("90s")) == "90s"',
  'timestamp("2026-02-30T00:00:00Z") == _flow.time',
  'int("0x1") == 1',
  'int(2.9) == 2',
  'uint(-1) == 1u',
  'double("1e3") == 1000.0',
  'bool("true")',
  'bytes("é").size() == 2',
  'b"\\xff" != b"a"',
  'string(b"abc") == "abc"',
  'size("é") == 1',
  '"é".size() == 1',
  '1 / 0 == 1 || true',
  '1 / 0 == 1 && false',
  '1 % 0 == 0',
  '9223372036854775807 + 1 > 0',
  '-9223372036854775808 < 0',
  '--1 == 1',
  '!!true',
  '1.5 > 1.0',
  '.5 < 1.0',
  '1e3 == 1000.0',
  '0.0 / 0.0 == 0.0 / 0.0',
  '"a" < "b"',
  'false < true',
  '[] == []',
  '[1] == [1.0]',
  'dyn([1]) == dyn([1.0])',
  '[1, 2] + [3] == [1, 2, 3]',
  '_flow.policy_log.size() == 0',
  '_flow.egress_allowed_by.all(p, p.name == "x")',
  '_flow.extensions == null',
  '_flow.Summary.contains("TCP") || true',
  // Not booleans, wrong types, unknown names, broken syntax.
  '_flow',
  '1',
  '"text"',
  'null',
  '_flow.is_reply',
  'dyn(true)',
  '_flow.verdict',
  '_flow.nosuch == 1',
  '_flow.l4.TCP.destination_port == 80',
  '_flow.verdict == "DROPPED"',
  'Verdict.NOSUCH == 1',
  'nosuch',
  'nosuch()',
  '_flow.source.nosuch()',
  'size(1) == 1',
  '1 + 1u == 2',
  '1 + 1.0 == 2.0',
  '"a" + 1 == "a1"',
  '!1',
  '-true',
  '1 && true',
  'true ? 1 : "a"',
  '80 in [80u]',
  'has(_flow)',
  'has(_flow.source.nosuch)',
  'has("a")',
  '[1].all(x)',
  '[1].all(1, true)',
  '5.all(x, true)',
  '[1].exists(x, x)',
  'something-invalid',
  '',
  ' ',
  '(',
  '_flow.verdict ==',
  '"open',
  "'a\nb' == ''",
  'a.b.c',
  'for',
  'true true',
  '[1,,2] == []',
  '{1} == {}',
  'f(1,)',
  '"\\q" == ""',
  '0xg',
  '99999999999999999999 > 0',
  '1u == 1',
  'true // comment',
  '_flow.verdict in [1, 2, Verdict.DROPPED]',
  'matches("abc", "b")',
  '"abc".matches("(")',
  'contains("a", "a")',
  'lowerAscii("A") == "a"',
  '"A".lowerAscii() == "a"',
  'type(type(1)) == type',
  '"a"[0] == "a"',
  '_flow["verdict"] == 1',
  'x.exists(x, true)',
  '[[1, 2], [3]].exists(l, l.exists(i, i == 3))',
  '[1].map(x, [x].map(x, x + 1))[0][0] == 2',
]

const PARTS = [
  '_flow',
  '.',
  'source',
  'labels',
  '(',
  ')',
  '[',
  ']',
  '==',
  '&&',
  '||',
  '!',
  '1',
  'u',
  '"a"',
  ',',
  'has',
  'size',
  ' in ',
  '?',
  ':',
  '{',
  '}',
  '-',
  'x',
  '.all',
]

/**
 * Refused when they stand alone. Behind a macro cel-go forgets that numbers of two types are not ordered, so they are
 * no parts of others here.
 */
const ALONE = ['_flow.l4.TCP.destination_port > 80', '1 < 2u', '1.0 >= 1']

/** Mostly expressions that check, over every kind of value; some text that is hardly one. */
export function makeCel(random: Random): string {
  if (random.chance(0.04)) return random.text(0, 10, PARTS)
  if (random.chance(0.15)) return random.pick([...SPECIALS, ...ALONE])
  return bool(random, random.below(4))
}
