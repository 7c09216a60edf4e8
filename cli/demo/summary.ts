import type { Flow } from '../../api/gen/flow/flow.ts'
import { DropReason, Verdict } from '../../api/gen/flow/flow.ts'
import { flowNumbers } from '../output/flow-extensions.ts'
import { nameOf } from '../output/flow-text.ts'
import { formatTable, withCommas } from '../table.ts'

/** Names that are counted: of pods, drop reasons, protocols. A demo has a few dozen. */
const MAX_NAMES = 1000
const TOP = 8

/** What a viewer of flows has seen, for the closing words of a demo. */
export class FlowSummary {
  flows = 0
  packets = 0
  readonly #drops = new Map<string, number>()
  readonly #protocols = new Map<string, number>()
  readonly #pairs = new Map<string, number>()

  add(flow: Flow): void {
    const more = flowNumbers(flow)
    this.flows++
    this.packets += (more?.packets ?? 0) + (more?.reply_packets ?? 0)
    count(this.#protocols, protocolName(flow))
    if (flow.verdict === Verdict.DROPPED) {
      count(this.#drops, more?.kernel_drop_reason || nameOf(DropReason, flow.drop_reason_desc))
    }
    const from = flow.is_reply ? flow.destination : flow.source
    const to = flow.is_reply ? flow.source : flow.destination
    if (from?.pod_name && to?.pod_name) {
      count(this.#pairs, `${from.namespace}/${from.pod_name} -> ${to.namespace}/${to.pod_name}`)
    }
  }

  /** Three short tables. */
  text(): string {
    const table = (head: string, counts: ReadonlyMap<string, number>) => {
      const top = [...counts].sort((a, b) => b[1] - a[1]).slice(0, TOP)
      return top.length === 0 ? [] : [formatTable([[head, 'FLOWS'], ...top.map(([name, n]) => [name, withCommas(n)])])]
    }
    return [
      `${withCommas(this.flows)} flows were seen.\n`,
      ...table('PROTOCOL', this.#protocols),
      ...table('BETWEEN', this.#pairs),
      ...table('DROPPED BY THE KERNEL', this.#drops),
    ].join('\n')
  }
}

function count(counts: Map<string, number>, name: string): void {
  const known = counts.get(name)
  if (known === undefined && counts.size >= MAX_NAMES) return
  counts.set(name, (known ?? 0) + 1)
}

function protocolName({ l7, l4 }: Flow): string {
  if (l7?.dns) return 'DNS'
  if (l7?.http) return 'HTTP'
  return Object.entries(l4 ?? {}).find(([, value]) => value !== undefined)?.[0] ?? 'other'
}
