import { describe, expect, test } from 'vitest'
import { type FlowSpec, TestFlowStore } from '../../test/helpers/flow-store.ts'
import { compileCel, MAX_EXPRESSION } from './program.ts'

const FLOW: FlowSpec = {
  time: 1_790_000_000_123_456_789n,
  source: {
    namespace: 'shop',
    podName: 'cart-0',
    labels: ['k8s:app=cart', 'reserved:x'],
    workloads: [{ name: 'cart', kind: 'Job' }],
  },
  destinationNames: ['api.example.com'],
  isReply: undefined,
  rttUs: 5,
}

function evaluate(source: string, spec: FlowSpec = FLOW): boolean | undefined {
  const store = new TestFlowStore()
  store.push(spec)
  const view = store.createView()
  store.seek(view, 0)
  return compileCel(source).evaluate(view)
}

describe('compileCel()', () => {
  test.each([
    ['_flow.source.pod_name == "cart-0"', true],
    ['_flow.l4.TCP.destination_port in [80u, 443u]', true],
    ['_flow.verdict == Verdict.FORWARDED && flow.FlowType.L3_L4 == _flow.Type', true],
    ['has(_flow.l4.TCP) && !has(_flow.l4.UDP) && !has(_flow.is_reply)', true],
    ['_flow.l4.UDP.source_port == 0u && _flow.l7.dns.query == ""', true],
    ['_flow.source.labels.exists(l, l.startsWith("k8s:app="))', true],
    ['_flow.source.labels.exists_one(l, l.contains("x"))', true],
    ['_flow.source.labels.all(l, l.size() > 100)', false],
    ['_flow.source.labels.map(l, l.size() > 10, l) == ["k8s:app=cart"]', true],
    ['_flow.source.workloads.filter(w, w.kind == "Job")[0].name == "cart"', true],
    ['_flow.destination_names[0].matches("^api\\\\.")', true],
    ['_flow.time == timestamp("2026-09-21T14:13:20.123456789Z")', true],
    ['_flow.time - duration("1h") < _flow.time && _flow.time.getMinutes() == 13', true],
    ['_flow.time.getHours("Europe/Berlin") == 16', true],
    ['_flow.is_reply == null', true],
    ['_flow.Summary == "TCP Flags: SYN"', true],
    ['int(_flow.l4.TCP.destination_port) * 2 - 10 == 150', true],
    ['1 / 0 == 1 || true', true],
    ['{"a": [1, 2]}.a[1] == 2', true],
    ['dyn(1u) == 1.0', true],
    ['size("é") + size(b"é") == 3', true],
    ['_flow.source == _flow.destination', false],
    ['type(_flow) == flow.Flow && type(1) == int', true],
    // What fails is no answer.
    ['1 / 0 == 1', undefined],
    ['_flow.destination_names[1] == ""', undefined],
    ['_flow.source.pod_name.matches("(")', undefined],
    ['9223372036854775807 + 1 > 0', undefined],
    ['uint(-1) == 0u', undefined],
    ['int("x") == 0', undefined],
    ['{"a": 1}["b"] == 1', undefined],
    ['_flow.is_reply && true', undefined],
  ])('%s is %s', (source, value) => {
    expect(evaluate(source)).toBe(value)
  })

  test.each([
    ['', 'found the end, expected an expression (at character 0)'],
    ['_flow', 'the expression is a flow.Flow, want a bool'],
    ['_flow.nosuch == 1', "undefined field 'nosuch' of flow.Flow (at character 6)"],
    ['_flow.l4.TCP.destination_port == 80', "no matching overload for '_==_' applied to (uint, int)"],
    ['flow.verdict == 1', "undeclared reference to 'flow'; a flow is '_flow'"],
    ['Verdict.DENIED == 1', "undeclared reference to 'Verdict'"],
    ['nosuch(1)', "undeclared reference to 'nosuch'"],
    ['"a" + 1 == "a"', 'applied to (string, int)'],
    ['TCP{} == _flow.l4.TCP', 'making messages is not supported'],
    ['(1 == 1', "found the end, expected ')'"],
    ['"a', 'string does not end'],
    ['"\\q" == ""', 'invalid escape \\q'],
    ['99999999999999999999 == 1', 'does not fit 64 bits'],
    ['for == 1', "'for' is a reserved word"],
    ['constructor', "undeclared reference to 'constructor'"],
    ['__proto__(1)', "undeclared reference to '__proto__'"],
    ['has(_flow)', 'has() wants a field'],
    [`${'('.repeat(150)}true${')'.repeat(150)}`, 'nested deeper than 100'],
    ['true||'.repeat(600), 'longer than 1000 tokens'],
    [' '.repeat(MAX_EXPRESSION + 1), `want at most ${MAX_EXPRESSION}`],
  ])('refuses %.60s', (source, message) => {
    expect(() => compileCel(source)).toThrow(message)
  })

  test.each([
    [
      '[1,2,3,4,5,6,7,8,9].map(a, [1,2,3,4,5,6,7,8,9].map(b, [1,2,3,4,5,6,7,8,9].map(c, [1,2,3,4,5,6,7,8,9].map(d, [1,2,3,4,5,6,7,8,9].map(e, 1))))).size() > 0',
    ],
    ['[1,2,3,4,5,6,7,8,9].all(a, "aaaaaaaaaaaaaaaaaaaaaaaa".matches("(a?){900}b"))'],
    [`true || ${Array.from({ length: 8 }, (_, i) => `[1,2,3,4,5].all(v${i}, `).join('')}true${')'.repeat(8)} && false`],
  ])('ends an expression that takes too many steps, case %#', (source) => {
    const store = new TestFlowStore()
    store.push(FLOW)
    const view = store.createView()
    store.seek(view, 0)
    const program = compileCel(source)
    const start = performance.now()
    for (let i = 0; i < 20; i++) program.evaluate(view)
    expect((performance.now() - start) / 20).toBeLessThan(20)
  })

  test('counts the evaluations that failed and says why the last one did', () => {
    const store = new TestFlowStore()
    store.push({}, { destinationNames: ['a'] })
    const view = store.createView()
    const program = compileCel('_flow.destination_names[0] == "a"')
    store.seek(view, 0)
    expect(program.evaluate(view)).toBeUndefined()
    store.seek(view, 1)
    expect(program.evaluate(view)).toBe(true)
    expect([program.faults, program.lastFault]).toEqual([1, 'index out of range'])
  })
})
