import type { FlowView } from '../../../model/flow-view.ts'
import type { PodWords } from '../series/family.ts'
import type { ContextCaches } from './caches.ts'
import { ENDPOINT_VALUES, type EndpointIdentifier } from './endpoint-values.ts'
import type { ContextIdentifier, ContextLabelName, ContextOptions, EndContext } from './options.ts'

/** Value number for the current flow. */
type Resolver = (view: FlowView) => number

const INGRESS = 1
const EGRESS = 2

/**
 * Fills the words of the context labels for a flow. One per set of options; handlers with the same options share it,
 * and the words are worked out once per flow.
 */
export class ContextLabeler {
  /** Names of the labels, in order. */
  readonly names: readonly string[]
  readonly #resolvers: readonly Resolver[]
  readonly #caches: ContextCaches
  readonly #options: ContextOptions
  readonly #words: Uint32Array
  #view: FlowView | undefined
  #sequence = -1
  #generation = -1

  /** @param swapped source and destination labels are taken from the other end (httpV2: responses as requests) */
  constructor(options: ContextOptions, caches: ContextCaches, swapped: boolean) {
    this.#options = options
    this.#caches = caches
    const names: string[] = []
    const resolvers: Resolver[] = []
    for (const name of options.labels) {
      names.push(name)
      resolvers.push(labelResolver(name, caches, swapped))
    }
    for (const end of ['source', 'destination'] as const) {
      if (!isSet(options[end])) continue
      names.push(end)
      resolvers.push(endResolver(options[end], caches, (end === 'source') !== swapped))
    }
    this.names = names
    this.#resolvers = resolvers
    this.#words = new Uint32Array(names.length)
  }

  /** Writes the flow's words to `key` from `at` on. */
  fill(view: FlowView, key: Uint32Array, at: number): void {
    const words = this.#words
    if (
      view.sequence !== this.#sequence ||
      view !== this.#view ||
      this.#generation !== this.#caches.values.generation
    ) {
      for (let i = 0; i < words.length; i++) words[i] = this.#resolvers[i]!(view)
      this.#view = view
      this.#sequence = view.sequence
      this.#generation = this.#caches.values.generation
    }
    for (let i = 0; i < words.length; i++) key[at + i] = words[i]!
  }

  /** Forgets the last flow: its slot may be another flow now. */
  reset(): void {
    this.#view = undefined
  }

  /** Which words name pods. @param at where the context words start in the key */
  pods(at: number): PodWords {
    const index = (name: string) => at + this.names.indexOf(name)
    const has = (name: ContextLabelName) => this.#options.labels.includes(name)
    const qualified: number[] = []
    const bare: number[] = []
    const pairs: [number, number][] = []
    for (const end of ['source', 'destination'] as const) {
      const lists = Object.values(this.#options[end]) as (readonly ContextIdentifier[])[]
      if (lists.some((list) => list.includes('pod'))) qualified.push(index(end))
      if (lists.some((list) => list.includes('pod-name'))) bare.push(index(end))
      if (!has(`${end}_pod`)) continue
      if (has(`${end}_namespace`)) pairs.push([index(`${end}_namespace`), index(`${end}_pod`)])
      else bare.push(index(`${end}_pod`))
    }
    return { qualified, bare, pairs }
  }
}

function isSet(end: EndContext): boolean {
  return end.any.length + end.egress.length + end.ingress.length > 0
}

function endResolver(end: EndContext, caches: ContextCaches, isSource: boolean): Resolver {
  const any = listResolver(end.any, caches, isSource)
  const egress = end.egress.length === 0 ? any : listResolver(end.egress, caches, isSource)
  const ingress = end.ingress.length === 0 ? any : listResolver(end.ingress, caches, isSource)
  return (view) => {
    const direction = view.trafficDirection
    return direction === EGRESS ? egress(view) : direction === INGRESS ? ingress(view) : any(view)
  }
}

/** The first identifier with a value wins. Runs of identifiers that the endpoint answers are one cached step. */
function listResolver(list: readonly ContextIdentifier[], caches: ContextCaches, isSource: boolean): Resolver {
  const steps: Resolver[] = []
  let run: EndpointIdentifier[] = []
  const endRun = () => {
    if (run.length > 0) steps.push(endpointResolver(run, caches, isSource))
    run = []
  }
  for (const identifier of list) {
    if (identifier === 'dns') {
      endRun()
      steps.push((view) => caches.names.get(view, isSource ? view.sourceNamesRef : view.destinationNamesRef))
    } else if (identifier === 'ip') {
      endRun()
      steps.push((view) => caches.addresses.get(view, isSource))
    } else {
      run.push(identifier)
    }
  }
  endRun()
  const [only] = steps
  if (only === undefined) return () => 0
  if (steps.length === 1) return only
  return (view) => {
    for (let i = 0; i < steps.length; i++) {
      const id = steps[i]!(view)
      if (id !== 0) return id
    }
    return 0
  }
}

function endpointResolver(run: readonly EndpointIdentifier[], caches: ContextCaches, isSource: boolean): Resolver {
  const list = [...run]
  const cache = caches.endpoint(list.join('|'), (endpoint) => {
    for (const identifier of list) {
      const text = ENDPOINT_VALUES[identifier](endpoint)
      if (text !== '') return caches.values.intern(text)
    }
    return 0
  })
  return isSource ? (view) => cache.get(view, view.sourceRef) : (view) => cache.get(view, view.destinationRef)
}

function labelResolver(name: ContextLabelName, caches: ContextCaches, swapped: boolean): Resolver {
  if (name === 'traffic_direction') return directionResolver(caches)
  const isSource = name.startsWith('source_') !== swapped
  const fact = name.slice(name.indexOf('_') + 1)
  switch (fact) {
    case 'ip':
      return listResolver(['ip'], caches, isSource)
    case 'pod':
      return listResolver(['pod-name'], caches, isSource)
    case 'workload':
      return listResolver(['workload-name'], caches, isSource)
    case 'namespace':
    case 'app':
      return listResolver([fact], caches, isSource)
    default: {
      const cache = caches.endpoint('workload-kind', (e) => caches.values.intern(e.workloads[0]?.kind ?? ''))
      return isSource ? (view) => cache.get(view, view.sourceRef) : (view) => cache.get(view, view.destinationRef)
    }
  }
}

function directionResolver(caches: ContextCaches): Resolver {
  const ids = ['unknown', 'ingress', 'egress'].map((text) => caches.values.pin(text))
  return (view) => ids[view.trafficDirection]!
}
