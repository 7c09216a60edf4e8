import { describe, expect, test } from 'vitest'
import { compile } from '../filters/compile.ts'
import { compileKernelPlan } from '../filters/kernel/index.ts'
import { allOf, anyOf, not, type Predicate } from '../filters/predicate.ts'
import { ALL_KINDS, type RuleEffect, type RuleSet } from '../filters/rules.ts'
import { Verdict } from '../model/layouts.gen.ts'
import { TestFlowStore } from '../test/helpers/flow-store.ts'
import { kernelTests } from './kernel-view.ts'

const NODE = { nodeName: 'node-1', nodeLabels: [] }
const port = (...ports: number[]): Predicate => ({ op: 'port', side: 'destination', ports })
const dropped: Predicate = { op: 'verdict', values: [Verdict.DROPPED] }
const reason: Predicate = { op: 'drop-reason', values: [133] }
const reply: Predicate = { op: 'reply', values: [true] }
const service: Predicate = { op: 'service', side: 'source', names: [{ namespace: 'a', prefix: 'b' }] }

function setOf(effect: RuleEffect, predicate: Predicate): RuleSet {
  const origin = { kind: 'test', name: '', path: '', label: '', text: '' }
  const rules = [{ id: 'rule', effect, predicate, origin }]
  return { consumers: [{ name: 'log', bit: 15, kinds: ALL_KINDS, isOn: true, rules }] }
}

function flows(): TestFlowStore {
  const store = new TestFlowStore()
  for (const dstPort of [80, 443, 53])
    for (const verdict of [Verdict.FORWARDED, Verdict.DROPPED])
      for (const isReply of [true, false])
        for (const protocol of [6, 17])
          store.push({ dstPort, verdict, isReply, protocol, hubbleReason: verdict === 2 ? 133 : 0 })
  return store
}

describe('kernelTests()', () => {
  test('has nothing to say of rules that the kernel decides alone', () => {
    const set = setOf('include', allOf(port(80), dropped))
    expect(kernelTests(set, compileKernelPlan(set, NODE).decisions, NODE).size).toBe(0)
  })

  const predicates: [string, Predicate][] = [
    ['a port and a service', allOf(port(80), service)],
    ['a reason', reason],
    ['a reply to a port', allOf(reply, port(53))],
    ['a port, or a reply', anyOf(port(53), reply)],
    ['neither port nor service', not(anyOf(port(80), service))],
    ['a service', service],
    [
      'udp and a service, or tcp',
      anyOf(allOf({ op: 'protocol', names: ['udp'] }, service), { op: 'protocol', names: ['tcp'] }),
    ],
  ]
  test.each(predicates)('accepts no less than an include rule, no more than an exclude rule: %s', (_, predicate) => {
    const store = flows()
    const view = store.createView()
    const exact = compile(predicate)
    for (const effect of ['include', 'exclude'] as const) {
      const set = setOf(effect, predicate)
      const { decisions } = compileKernelPlan(set, NODE)
      expect(decisions.get('rule')!.where).not.toBe('kernel')
      const asked = kernelTests(set, decisions, NODE).get('rule')!
      for (let sequence = 0; sequence < store.end; sequence++) {
        store.seek(view, sequence)
        if (effect === 'include' && exact(view)) expect(asked(view)).toBe(true)
        if (effect === 'exclude' && asked(view)) expect(exact(view)).toBe(true)
      }
    }
  })

  test('narrows what the kernel can tell', () => {
    const store = flows()
    const view = store.createView()
    const set = setOf('include', allOf(port(80), reply))
    const asked = kernelTests(set, compileKernelPlan(set, NODE).decisions, NODE).get('rule')!
    const accepted = Array.from({ length: store.end }, (_, sequence) => {
      store.seek(view, sequence)
      return asked(view) ? view.dstPort : 0
    })
    expect(new Set(accepted)).toEqual(new Set([0, 80]))
  })
})
