import type { Steps } from '../../base/steps.ts'
import type { Endpoint } from '../../model/endpoint.ts'
import { type LabelSelector, type ParsedLabel, parseLabels } from '../label-selector.ts'
import { Atoms, type SidedRule } from './atoms.ts'
import type { EndpointTest } from './term.ts'

/** Tests by their value. */
type Index<K> = Map<K, number[]>

interface SelectorAtom {
  readonly selector: LabelSelector
  readonly atom: number
}

/** Selectors that want a label of this key: any value, or one of these. */
interface KeyEntry {
  readonly any: SelectorAtom[]
  readonly byValue: Map<string, SelectorAtom[]>
}

/**
 * Which rules accept an endpoint. The tests are indexed by what they look for, so that an endpoint is asked about the few
 * that may be true of it and not about all: some microseconds for each, whatever the number of rules.
 */
export class EndpointIndex {
  readonly #atoms: Atoms<EndpointTest>
  /** Pod tests by namespace ('' = any) and prefix of the name, with the lengths of the prefixes there are. */
  readonly #pods = new Map<string, { readonly byPrefix: Index<string>; readonly lengths: Set<number> }>()
  readonly #identities: Index<number> = new Map()
  readonly #clusters: Index<string> = new Map()
  /** `name\nkind`, either may be empty for any. */
  readonly #workloads: Index<string> = new Map()
  readonly #labels = new Map<string, KeyEntry>()
  /** Selectors that a missing label can satisfy: asked for every endpoint. */
  readonly #unanchored: SelectorAtom[] = []
  #hasLabels = false

  private constructor(atoms: Atoms<EndpointTest>) {
    this.#atoms = atoms
  }

  static *of(rules: readonly SidedRule[]): Steps<EndpointIndex> {
    const index = new EndpointIndex(yield* Atoms.of<EndpointTest>(rules))
    for (const [atom, test] of index.#atoms.tests.entries()) {
      index.#addTest(test, atom)
      yield
    }
    index.#hasLabels = index.#labels.size > 0 || index.#unanchored.length > 0
    return index
  }

  /** What the endpoint is known by: endpoints of one key are accepted by the same rules. */
  keyOf(endpoint: Endpoint): string {
    if (this.#atoms.tests.length === 0) return ''
    this.#atoms.begin()
    this.#holdPods(endpoint)
    this.#hold(this.#identities.get(endpoint.identity))
    this.#hold(this.#clusters.get(endpoint.clusterName))
    for (const { name, kind } of endpoint.workloads) {
      this.#hold(this.#workloads.get(`${name}\n${kind}`))
      this.#hold(this.#workloads.get(`${name}\n`))
      this.#hold(this.#workloads.get(`\n${kind}`))
      this.#hold(this.#workloads.get('\n'))
    }
    if (this.#hasLabels) this.#holdLabels(parseLabels(endpoint.labels))
    return this.#atoms.key()
  }

  /** Masks of the endpoint that keyOf() was asked about last, into zeroed bytes: struct filter_class. */
  writeMasks(out: Uint8Array, at = 0): void {
    this.#atoms.writeMasks(out, at)
  }

  #addTest(test: EndpointTest, atom: number): void {
    switch (test.op) {
      case 'pod':
        for (const { namespace, prefix } of test.names) this.#addPod(namespace, prefix, atom)
        break
      case 'identity':
        for (const identity of test.values) add(this.#identities, identity, atom)
        break
      case 'cluster-name':
        for (const name of test.names) add(this.#clusters, name, atom)
        break
      case 'workload':
        for (const { name, kind } of test.entries) add(this.#workloads, `${name}\n${kind}`, atom)
        break
      case 'label':
        for (const selector of test.selectors) this.#addSelector({ selector, atom })
        break
    }
  }

  #addPod(namespace: string, prefix: string, atom: number): void {
    let names = this.#pods.get(namespace)
    if (names === undefined) {
      names = { byPrefix: new Map(), lengths: new Set() }
      this.#pods.set(namespace, names)
    }
    add(names.byPrefix, prefix, atom)
    names.lengths.add(prefix.length)
  }

  #holdPods({ namespace, podName }: Endpoint): void {
    if (namespace === '' && podName === '') return
    for (const names of [this.#pods.get(namespace), namespace === '' ? undefined : this.#pods.get('')]) {
      if (names === undefined) continue
      for (const length of names.lengths) {
        if (length <= podName.length) this.#hold(names.byPrefix.get(podName.slice(0, length)))
      }
    }
  }

  /** By one requirement that only a label that is there can satisfy; matches() then asks all of them. */
  #addSelector(one: SelectorAtom): void {
    const anchor = one.selector.requirements.find(
      ({ key, operator }) => key.source !== 'cidr' && operator !== '!' && operator !== 'notin',
    )
    if (anchor === undefined) {
      this.#unanchored.push(one)
      return
    }
    let entry = this.#labels.get(anchor.key.key)
    if (entry === undefined) {
      entry = { any: [], byValue: new Map() }
      this.#labels.set(anchor.key.key, entry)
    }
    if (anchor.operator !== 'in') {
      entry.any.push(one)
      return
    }
    for (const value of anchor.values) {
      const known = entry.byValue.get(value)
      if (known === undefined) entry.byValue.set(value, [one])
      else known.push(one)
    }
  }

  #holdLabels(labels: readonly ParsedLabel[]): void {
    this.#holdMatching(this.#unanchored, labels)
    for (const { key, value } of labels) {
      const entry = this.#labels.get(key)
      if (entry === undefined) continue
      this.#holdMatching(entry.any, labels)
      this.#holdMatching(entry.byValue.get(value), labels)
    }
  }

  #holdMatching(selectors: readonly SelectorAtom[] | undefined, labels: readonly ParsedLabel[]): void {
    if (selectors === undefined) return
    for (const { selector, atom } of selectors) {
      if (!this.#atoms.isHeld(atom) && selector.matches(labels)) this.#atoms.hold(atom)
    }
  }

  #hold(atoms: readonly number[] | undefined): void {
    if (atoms !== undefined) for (const atom of atoms) this.#atoms.hold(atom)
  }
}

function add<K>(index: Index<K>, key: K, atom: number): void {
  const known = index.get(key)
  if (known === undefined) index.set(key, [atom])
  else if (known.at(-1) !== atom) known.push(atom)
}
