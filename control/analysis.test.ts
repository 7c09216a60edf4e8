import { describe, expect, test } from 'vitest'
import { flowFilterPredicate } from '../filters/hubble/index.ts'
import { parseFlowFilters } from '../filters/hubble/json.ts'
import { ALL_KINDS, type FilterRule, type RuleEffect, type RuleSet } from '../filters/rules.ts'
import { longestHold } from '../test/helpers/longest-hold.ts'
import { joinProblems, neverMatched, ruleProblems, ruleProblemsSliced } from './analysis.ts'

const rule = (id: string, effect: RuleEffect, json: string, kind = 'ContainerNetworkLog'): FilterRule => ({
  id,
  effect,
  predicate: flowFilterPredicate(parseFlowFilters(json)[0]!),
  origin: { kind, name: 'x', path: `spec.${id}`, label: id === 'named' ? 'mine' : '', text: json },
})
const set = (...rules: FilterRule[]): RuleSet => ({
  consumers: [{ name: 'log', bit: 15, kinds: ALL_KINDS, isOn: true, rules }],
})

describe('ruleProblems()', () => {
  test('names rules that others cover, and includes that excludes leave nothing of', () => {
    const rules = set(
      rule('narrow', 'include', '{"source_pod":["a/b"]}'),
      rule('wide', 'include', '{"source_pod":["a/"]}'),
      rule('twin', 'include', '{"source_pod":["a/"]}'),
      rule('gone', 'include', '{"protocol":["udp"],"verdict":[2]}'),
      rule('named', 'exclude', '{"protocol":["udp"]}'),
    )
    expect([...ruleProblems(rules)]).toEqual([
      [
        'narrow',
        [{ kind: 'shadowed', text: 'ContainerNetworkLog/x spec.wide matches all that it matches', otherRule: 'wide' }],
      ],
      [
        'twin',
        [{ kind: 'shadowed', text: 'ContainerNetworkLog/x spec.wide matches all that it matches', otherRule: 'wide' }],
      ],
      [
        'gone',
        [
          {
            kind: 'conflict',
            text: 'ContainerNetworkLog/x spec.named "mine" leaves out all that it matches',
            otherRule: 'named',
          },
        ],
      ],
    ])
  })

  test('looks at each consumer for itself', () => {
    const one = set(rule('a', 'include', '{}')).consumers[0]!
    const other = { ...set(rule('b', 'include', '{}')).consumers[0]!, name: 'metric/flow', bit: 0 }
    expect(ruleProblems({ consumers: [one, other] }).size).toBe(0)
  })

  test('takes a thousand rules in slices', async () => {
    const rules = Array.from({ length: 1000 }, (_, i) =>
      rule(`r${i}`, 'include', `{"source_pod":["a/${i}-"],"protocol":["tcp"]}`),
    )
    const everything = set(...rules, rule('all', 'exclude', '{"source_pod":["a/"]}'))
    const { result: problems, longestMs } = await longestHold(() => ruleProblemsSliced(everything))
    expect(problems.size).toBe(1000)
    // Some milliseconds of its own; the rest is the machine's.
    expect(longestMs).toBeLessThan(200)
  })
})

test('neverMatched() names rules of which nothing was seen for long enough', () => {
  const rules = set(
    rule('old', 'include', '{"protocol":["tcp"]}'),
    rule('young', 'include', '{"protocol":["udp"]}'),
    rule('busy', 'include', '{"protocol":["icmp"]}'),
    rule('query', 'include', '{"protocol":["sctp"]}', 'query'),
  )
  const counts = {
    rules: rules.consumers[0]!.rules.map(({ id }) => ({
      id,
      matched: id === 'busy' ? 1 : 0,
      kept: 0,
      leftOut: 0,
      isExact: true,
    })),
    consumers: [],
    filteredInKernel: 0,
    unattributed: 0,
  }
  const now = Date.UTC(2026, 10, 24, 12)
  const since = (id: string) => now - (id === 'young' ? 1000 : 3_600_000)
  const problems = neverMatched(rules, counts, { since, now, minAgeMs: 60_000 })
  expect([...problems]).toEqual([
    ['old', [{ kind: 'never-matched', text: 'nothing matched it since 2026-11-24T11:00:00Z', otherRule: '' }]],
  ])
  expect(joinProblems(problems, problems).get('old')).toHaveLength(2)
})
