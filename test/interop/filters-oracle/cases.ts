import { errorText } from '../../../base/errors.ts'
import { compileFlowFilters } from '../../../filters/hubble/index.ts'
import { readFlowFilter } from '../../../filters/hubble/json.ts'
import type { FlowView } from '../../../model/flow-view.ts'
import type { TestFlowStore } from '../../helpers/flow-store.ts'
import { type FilterJson, makeFilter } from './filters.ts'
import { makeFlows } from './flows.ts'
import { Random } from './random.ts'

/** The set whose answers are kept in filters/hubble/fixtures/oracle.json; change it and record again with UPDATE=1. */
export const GOLDEN_SEED = 4242
export const GOLDEN_FLOWS = 20
export const GOLDEN_CASES = 1200

export interface FilterCase {
  readonly whitelist: readonly FilterJson[]
  readonly blacklist: readonly FilterJson[]
}

/** One digit for each flow, or the text of the fault. */
export interface Answer {
  readonly matches?: string
  readonly error?: string
}

/** Cases of one seed and the flows they are asked of. */
export class CaseSet {
  readonly stores: readonly { store: TestFlowStore; view: FlowView }[]
  readonly cases: readonly FilterCase[]

  constructor(seed: number, flowsPerNode: number, count: number) {
    const random = new Random(seed)
    this.stores = makeFlows(random, flowsPerNode)
    const uuids = Array.from(this.views(), (view) => view.uuid)
    this.cases = Array.from({ length: count }, () => ({
      whitelist: random.chance(0.9) ? random.list(1, random.chance(0.2) ? 3 : 1, () => makeFilter(random, uuids)) : [],
      blacklist: random.chance(0.25) ? random.list(1, 2, () => makeFilter(random, uuids)) : [],
    }))
  }

  /** The flows of all nodes one after another. One cursor a node, moved: take what is wanted before the next one. */
  *views(): Generator<FlowView> {
    for (const { store, view } of this.stores) {
      for (let sequence = store.first; sequence < store.end; sequence++) {
        store.seek(view, sequence)
        yield view
      }
    }
  }

  /** What our own filters say. */
  answer({ whitelist, blacklist }: FilterCase): Answer {
    try {
      const predicate = compileFlowFilters(whitelist.map(readFlowFilter), blacklist.map(readFlowFilter))
      let matches = ''
      for (const view of this.views()) matches += predicate(view) ? '1' : '0'
      return { matches }
    } catch (error) {
      return { error: errorText(error) }
    }
  }
}
