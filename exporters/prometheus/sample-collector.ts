import type { TelemetrySink } from '../../model/contracts.ts'
import type { StageLedger } from '../../model/ledger.ts'
import { type FamilyType, type Format, familyHeader, labelText, samplePrefix, valueText } from './series/text.ts'

/** Samples of one scrape; components tell of closed sets, so this is far above what they have. */
const SAMPLES_MAX = 20_000

interface Collected {
  readonly help: string
  readonly type: FamilyType
  readonly lines: Map<string, number>
}

const NAME = /^[a-zA-Z_:][a-zA-Z0-9_:]*$/
const LABEL = /^(?!__)[a-zA-Z_][a-zA-Z0-9_]*$/

/**
 * Takes what components tell of themselves at a scrape. A name told with two types, a label set told twice and names
 * that the format does not allow are left out and counted: one component's mistake must not spoil the scrape.
 */
export class SampleCollector implements TelemetrySink {
  /** Samples left out. */
  rejected = 0
  readonly #families = new Map<string, Collected>()
  readonly #reserved: ReadonlySet<string>
  #count = 0

  /** @param reserved names that are rendered elsewhere */
  constructor(reserved: ReadonlySet<string> = new Set()) {
    this.#reserved = reserved
  }

  counter(name: string, help: string, value: number, labels?: Readonly<Record<string, string>>): void {
    this.#add('counter', name, help, value, labels)
  }

  gauge(name: string, help: string, value: number, labels?: Readonly<Record<string, string>>): void {
    this.#add('gauge', name, help, value, labels)
  }

  /** The samples, family by family, each in one piece. */
  *text(format: Format): Generator<string> {
    for (const [name, family] of this.#families) {
      let text = familyHeader(name, family.help, family.type, format)
      for (const [prefix, value] of family.lines) text += `${prefix}${valueText(value)}\n`
      yield text
    }
  }

  #add(type: FamilyType, name: string, help: string, value: number, labels: Readonly<Record<string, string>> = {}) {
    const names = Object.keys(labels)
    const family = this.#families.get(name) ?? { help, type, lines: new Map<string, number>() }
    const prefix = samplePrefix(name, labelText(names, Object.values(labels)))
    if (
      this.#count >= SAMPLES_MAX ||
      family.type !== type ||
      family.lines.has(prefix) ||
      this.#reserved.has(name) ||
      !NAME.test(name) ||
      !names.every((label) => LABEL.test(label))
    ) {
      this.rejected++
      return
    }
    family.lines.set(prefix, value)
    this.#families.set(name, family)
    this.#count++
  }
}

/** A stage's ledger as metrics. The states add up: accepted = delivered + waiting + filtered + lost. */
export function collectLedger(ledger: StageLedger, sink: TelemetrySink): void {
  const { stage } = ledger
  const flows = 'sluice_ledger_flows'
  const help = 'Flows of each stage by state; accepted = delivered + waiting + filtered + lost'
  for (const state of ['accepted', 'delivered', 'waiting', 'filtered', 'lost'] as const) {
    sink.gauge(flows, help, ledger[state], { stage, state })
  }
  sink.gauge(
    'sluice_ledger_difference',
    'Flows that no state of the stage accounts for; 0 when the ledger closes',
    ledger.difference,
    { stage },
  )
  for (const [reason, count] of ledger.lostByReason) {
    sink.counter('sluice_lost_total', 'Flows lost at a stage, by reason', count, { stage, reason })
  }
}
