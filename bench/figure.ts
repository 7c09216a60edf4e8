/** One measured figure, as `npm run bench -- --json` prints it. */
export interface Figure {
  /** `kernel.established_packet` */
  readonly name: string
  readonly value: number
  /** `ns/packet`, `flows/s`, `ratio`, `MB`, ... */
  readonly unit: string
  /** `≤ 120`, `≥ 0.97`; empty where a figure is only reported. */
  readonly goal: string
  /** Whether the goal is met; true where there is none. */
  readonly ok: boolean
  /** What was measured, how often, on what. */
  readonly conditions: string
}

/** A benchmark: bench/<name>.bench.ts exports one as default or as `run`. */
export type Benchmark = () => Promise<Figure[]>

/** A figure with a goal like `≤ 300` or `≥ 0.97`; no goal text: only reported. */
export function figure(name: string, value: number, unit: string, goal: string, conditions: string): Figure {
  return { name, value, unit, goal, ok: meets(value, goal), conditions }
}

function meets(value: number, goal: string): boolean {
  const match = /^(≤|≥|=)\s*([\d.,]+)$/.exec(goal)
  if (!match) {
    if (goal !== '') throw new RangeError(`Goal "${goal}": want "≤ n", "≥ n", "= n" or nothing`)
    return true
  }
  const wanted = Number(match[2]!.replace(/,/g, ''))
  return match[1] === '≤' ? value <= wanted : match[1] === '≥' ? value >= wanted : value === wanted
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b)
  const middle = sorted.length >> 1
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2
}

export function percentile(values: readonly number[], p: number): number {
  const sorted = [...values].sort((a, b) => a - b)
  return sorted[Math.min(sorted.length - 1, Math.floor((sorted.length * p) / 100))]!
}
