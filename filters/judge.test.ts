import { describe, expect, test } from 'vitest'
import { type FlowSpec, TestFlowStore } from '../test/helpers/flow-store.ts'
import { Judge } from './judge.ts'
import { anyOf, type Predicate } from './predicate.ts'
import { ALL_KINDS, type FilterConsumer, type FilterRule, type RuleSet } from './rules.ts'

const UNDECIDED = 2 ** 30
const SET = 2 ** 31
const port = (...ports: number[]): Predicate => ({ op: 'port', side: 'destination', ports })

function rule(id: string, predicate: Predicate, effect: 'include' | 'exclude' = 'include'): FilterRule {
  return { id, effect, predicate, origin: { kind: 'query', name: 'test', path: '', label: '', text: id } }
}

function consumer(bit: number, rules: FilterRule[], fields: Partial<FilterConsumer> = {}): FilterConsumer {
  return { name: `consumer/${bit}`, bit, kinds: ALL_KINDS, isOn: true, rules, ...fields }
}

const set = (...consumers: FilterConsumer[]): RuleSet => ({ consumers })

function make() {
  const store = new TestFlowStore()
  const judge = new Judge({ historyEnd: () => store.end })
  const view = store.createView()
  /** Pushes a flow and asks for it. */
  const wants = (bit: number, spec: FlowSpec) => {
    store.seek(view, store.push(spec))
    return judge.wants(bit, view)
  }
  return { store, judge, view, wants }
}

async function commit(judge: Judge, rules: RuleSet, generation: number, exactBits: number) {
  await judge.prepare(rules, generation, exactBits)
  return judge.commit()
}

describe('Judge.wants()', () => {
  test('takes everything before the first set', () => {
    const { wants } = make()
    expect([wants(0, {}), wants(29, { verdict: 2 })]).toEqual([true, true])
  })

  test('asks the rules of flows that nobody judged: include or none, and no exclude, of a kind that concerns', async () => {
    const { judge, wants } = make()
    const rules = set(
      consumer(0, []),
      consumer(1, [rule('a', port(80, 81)), rule('b', port(443)), rule('c', port(81), 'exclude')]),
      consumer(2, [rule('d', port(80), 'exclude')]),
      consumer(3, [], { kinds: 1 << 2 }),
      consumer(4, [], { isOn: false }),
    )
    await judge.apply(rules)
    const answers = (spec: FlowSpec) => [0, 1, 2, 3, 4, 5].map((bit) => wants(bit, spec))
    expect(answers({ dstPort: 80 })).toEqual([true, true, false, false, false, false])
    expect(answers({ dstPort: 81 })).toEqual([true, false, true, false, false, false])
    expect(answers({ dstPort: 443, verdict: 2 })).toEqual([true, true, true, true, false, false])
    expect(answers({ dstPort: 22 })).toEqual([true, false, true, false, false, false])
  })

  test('counts what each rule matched, kept and left out', async () => {
    const { judge, wants } = make()
    await judge.apply(set(consumer(1, [rule('in', port(80, 81)), rule('out', anyOf(port(81), port(22)), 'exclude')])))
    for (const dstPort of [80, 80, 81, 22, 443]) wants(1, { dstPort })
    expect(judge.counts()).toEqual({
      rules: [
        { id: 'in', matched: 3, kept: 2, leftOut: 1, isExact: true },
        { id: 'out', matched: 2, kept: 0, leftOut: 2, isExact: true },
      ],
      consumers: [{ name: 'consumer/1', events: 5, kept: 2, leftOut: 3 }],
      filteredInKernel: 0,
      unattributed: 0,
    })
  })

  test('keeps the counts of rules that stay, and forgets those that go', async () => {
    const { judge, wants } = make()
    await judge.apply(set(consumer(1, [rule('stays', port(80)), rule('goes', port(81))])))
    wants(1, { dstPort: 80 })
    wants(1, { dstPort: 81 })
    for (let i = 0; i < 3; i++) {
      await judge.apply(set(consumer(1, [rule('stays', port(80)), rule('new', port(82))])))
      wants(1, { dstPort: 80 })
    }
    expect(judge.counts().rules.map(({ id, matched }) => [id, matched])).toEqual([
      ['stays', 4],
      ['new', 0],
    ])
  })

  test("believes the kernel's bit of an exact consumer, and of others that they do not take it", async () => {
    const { judge, wants } = make()
    await commit(judge, set(consumer(1, [rule('a', port(80))]), consumer(2, [rule('b', port(80))])), 1, 0b10)
    judge.trust(true)
    // Whatever the flow is: the kernel said yes to 1, no to 2.
    expect(wants(1, { dstPort: 22, consumers: SET + 0b10 })).toBe(true)
    expect(wants(1, { dstPort: 80, consumers: SET + 0b100 })).toBe(false)
    // Of the other one, its no alone.
    expect(wants(2, { dstPort: 80, consumers: SET + 0b10 })).toBe(false)
    expect(wants(2, { dstPort: 80, consumers: SET + 0b110 })).toBe(true)
    expect(wants(2, { dstPort: 22, consumers: SET + 0b110 })).toBe(false)
    expect(wants(1, { dstPort: 80, consumers: SET + UNDECIDED })).toBe(true)
    expect(wants(1, { dstPort: 80, consumers: 0xffff_ffff })).toBe(true)
    expect(wants(1, { dstPort: 22, consumers: 0xffff_ffff })).toBe(false)
    // What the kernel decided is counted there.
    expect(judge.counts().consumers).toEqual([
      { name: 'consumer/1', events: 3, kept: 2, leftOut: 1 },
      { name: 'consumer/2', events: 2, kept: 1, leftOut: 1 },
    ])
  })

  test('believes nothing before it is told to', async () => {
    const { judge, store, view, wants } = make()
    await commit(judge, set(consumer(1, [rule('a', port(80))])), 1, 0b10)
    expect(wants(1, { dstPort: 80, consumers: SET })).toBe(true)
    judge.trust(true)
    expect(wants(1, { dstPort: 80, consumers: SET })).toBe(false)
    store.seek(view, 0)
    expect(judge.wants(1, view)).toBe(true)
    judge.trust(false)
    expect(wants(1, { dstPort: 80, consumers: SET })).toBe(true)
    expect(judge.counts().consumers[0]!.events).toBe(0)
  })

  test('lets each record be answered by the set that judged it, and by the present one when that is gone', async () => {
    const { judge, store, view } = make()
    const at = (sequence: number) => {
      store.seek(view, sequence)
      return judge.wants(1, view)
    }
    judge.trust(true)
    await commit(judge, set(consumer(1, [rule('a', port(80))])), 1, 0)
    const oldest = store.push({ dstPort: 80, consumers: SET + 0b10 })
    expect(at(oldest)).toBe(true)
    await commit(judge, set(consumer(1, [rule('b', port(81))])), 2, 0b10)
    const late = store.push({ dstPort: 80, consumers: SET + 0b10 })
    const fresh = store.push({ dstPort: 80, consumers: 0b10 })
    // The first set is not exact: its rule is asked. The second one is: its bit is the answer.
    expect([at(oldest), at(late), at(fresh)]).toEqual([true, true, true])
    await commit(judge, set(consumer(1, [rule('c', port(82))])), 3, 0b10)
    // Of the first two the bit would say the third set, which is younger than they are: its rules are asked instead.
    expect([at(oldest), at(late), at(fresh)]).toEqual([false, false, true])
    expect(at(store.push({ dstPort: 80, consumers: SET + 0b10 }))).toBe(true)
  })

  test('wouldTake() asks the present rules, whatever a record says, and counts nothing', async () => {
    const { judge, store, view } = make()
    await commit(judge, set(consumer(1, [rule('a', port(80)), rule('b', port(80), 'exclude')]), consumer(2, [])), 1, 6)
    judge.trust(true)
    store.seek(view, store.push({ dstPort: 80, consumers: SET + 0b110 }))
    expect([1, 2, 3].map((bit) => judge.wouldTake(bit, view))).toEqual([false, true, false])
    expect(judge.counts().consumers.map(({ events }) => events)).toEqual([0, 0])
  })

  test('takes a commit back', async () => {
    const { judge, wants } = make()
    await judge.apply(set(consumer(1, [rule('a', port(80))])))
    await judge.prepare(set(consumer(1, [rule('b', port(81))])), 2, 0)
    const undo = judge.commit()
    expect(wants(1, { dstPort: 81 })).toBe(true)
    undo()
    expect([wants(1, { dstPort: 81 }), wants(1, { dstPort: 80 })]).toEqual([false, true])
    expect(() => judge.commit()).toThrow('not prepared')
  })

  test('prepares 20,000 rules in slices', async () => {
    const { judge } = make()
    const rules = Array.from({ length: 20_000 }, (_, i) => rule(`r${i}`, port(i)))
    let turns = 0
    const timer = setInterval(() => turns++, 1)
    await judge.apply(set(consumer(1, rules)))
    clearInterval(timer)
    expect(turns).toBeGreaterThan(1)
  })
})
