import { errorText } from '../base/errors.ts'
import { type CompiledResource, compileDocument } from '../filters/resources/compile.ts'
import { METRIC_RESOURCE_NAME } from '../filters/resources/kinds.ts'
import { type Problem, problemText } from '../filters/resources/problem.ts'
import type { ResourceDocument, ResourceRef, ResourceSource } from './resource.ts'
import { type Outcome, outcomeOf } from './status.ts'

/** Resources kept, of all sources together. */
export const MAX_RESOURCES = 128
const MAX_LEFT_OUT = 1024
/** Rules of resources in force at a time. The kernel decides 256 rules; those beyond are asked in user space. */
export const MAX_RULES = 1024

/** What a document turned out to be. */
export interface Checked {
  /** Undefined when the document is wrong. */
  readonly compiled: CompiledResource | undefined
  readonly mistakes: readonly string[]
  readonly warnings: readonly string[]
  /** metadata.generation of the document. */
  readonly generation: number
}

/** A resource with all that is known of it. */
export interface Entry {
  readonly source: ResourceSource
  readonly ref: ResourceRef
  document: ResourceDocument
  /** Of the document as it is now; undefined while it was not looked at. */
  checked: Checked | undefined
  /** What the last document that was right says: it stays in force while the present one is wrong. */
  good: CompiledResource | undefined
  /** What of it is in the rules in force. */
  applied: CompiledResource | undefined
}

/** What is to be put into force, and what becomes of every resource if it can be. */
export interface Selection {
  readonly resources: readonly CompiledResource[]
  readonly inForce: ReadonlyMap<Entry, CompiledResource>
  readonly outcomes: ReadonlyMap<Entry, Outcome>
}

/** The resources of all sources: keeps the newest document of each, and chooses which are in force. */
export class ResourceBook {
  /** Resources that were refused because there are too many. */
  refused = 0
  readonly #entries = new Map<string, Entry>()
  /** Resources that are there and were refused; so many are remembered. */
  readonly #leftOut = new Map<string, { readonly source: ResourceSource; readonly ref: ResourceRef }>()
  readonly #sources: readonly ResourceSource[]

  constructor(sources: readonly ResourceSource[]) {
    this.#sources = sources
  }

  get entries(): readonly Entry[] {
    return [...this.#entries.values()]
  }

  upsert(source: ResourceSource, document: ResourceDocument): 'changed' | 'same' | 'refused' {
    const key = keyOf(source, document.ref)
    const known = this.#entries.get(key)
    // A wrong document is looked at again also when it says the same: its lines may have moved.
    const isRight = known?.checked === undefined || known.checked.compiled !== undefined
    if (known !== undefined && isRight && isSame(known.document, document)) return 'same'
    if (known !== undefined && known.document.uid === document.uid) {
      known.document = document
      known.checked = undefined
      return 'changed'
    }
    if (known === undefined && this.#entries.size >= MAX_RESOURCES) {
      this.refused++
      if (this.#leftOut.size < MAX_LEFT_OUT) this.#leftOut.set(key, { source, ref: document.ref })
      return 'refused'
    }
    this.#leftOut.delete(key)
    // Another resource by the same name owes nothing to what the one before said.
    this.#entries.set(key, {
      source,
      ref: document.ref,
      document,
      checked: undefined,
      good: undefined,
      applied: undefined,
    })
    return 'changed'
  }

  /** A book of its own with the same resources but those that a document stands in place of. */
  without(refs: readonly ResourceRef[], source: ResourceSource): ResourceBook {
    const other = new ResourceBook([...this.#sources, source])
    for (const [key, entry] of this.#entries) {
      if (refs.some((ref) => ref.kind === entry.ref.kind && ref.name === entry.ref.name)) continue
      other.#entries.set(key, { ...entry })
    }
    return other
  }

  /** @returns false when it was not there */
  remove(source: ResourceSource, ref: ResourceRef): boolean {
    const key = keyOf(source, ref)
    this.#leftOut.delete(key)
    return this.#entries.delete(key)
  }

  /** What says that there was no room for a resource of a source, as long as there is one; undefined else. */
  leftOut(source: ResourceSource): string | undefined {
    for (const one of this.#leftOut.values()) if (one.source === source) return noRoomText(one.ref)
    return undefined
  }

  /** Looks at every document that was not looked at yet, in slices. */
  async check(): Promise<void> {
    for (const entry of this.#entries.values()) {
      if (entry.checked !== undefined) continue
      const { document } = entry
      const checked = await checkDocument(document)
      // A newer version may have come meanwhile; it is looked at in the next round.
      if (entry.document !== document) continue
      entry.checked = checked
      if (checked.compiled !== undefined) entry.good = checked.compiled
      // A version is told by its number: what it said is held once, compiled.
      if (isNumbered(document)) entry.document = { ...document, value: undefined }
    }
  }

  /** Which resources are to be in force. @param merge several ContainerNetworkMetrics */
  select(merge: boolean): Selection {
    const inForce = new Map<Entry, CompiledResource>()
    const outcomes = new Map<Entry, Outcome>()
    let metric: Entry | undefined
    let rules = 0
    for (const entry of this.#sorted()) {
      const wanted = entry.good
      // A version that came meanwhile is looked at in the next round: until then there is nothing new to tell.
      if (entry.checked === undefined) {
        if (wanted !== undefined && entry.applied !== undefined) {
          rules += ruleCount(wanted)
          inForce.set(entry, wanted)
          if (entry.ref.kind === 'ContainerNetworkMetric') metric ??= entry
        }
        continue
      }
      const ignored = merge ? undefined : ignoredBecause(entry, metric)
      if (ignored === undefined && entry.ref.kind === 'ContainerNetworkMetric') metric ??= entry
      if (ignored !== undefined) {
        outcomes.set(entry, outcomeOf('Ignored', entry.checked, ignored))
      } else if (wanted === undefined) {
        outcomes.set(entry, outcomeOf('Invalid', entry.checked))
      } else if (rules + ruleCount(wanted) > MAX_RULES) {
        const text = `${ruleCount(wanted)} filters, and only ${MAX_RULES - rules} more fit beside those of other resources`
        const kept =
          entry.applied !== undefined && rules + ruleCount(entry.applied) <= MAX_RULES ? entry.applied : undefined
        if (kept !== undefined) {
          rules += ruleCount(kept)
          inForce.set(entry, kept)
        }
        outcomes.set(entry, outcomeOf('LimitExceeded', entry.checked, text, kept))
      } else {
        rules += ruleCount(wanted)
        inForce.set(entry, wanted)
        const isInvalid = entry.checked.compiled === undefined
        outcomes.set(entry, outcomeOf(isInvalid ? 'Invalid' : 'Configured', entry.checked, '', wanted))
      }
    }
    return { resources: [...inForce.values()], inForce, outcomes }
  }

  /** In the order of sources, then by kind and name: the same resources give the same rules. */
  #sorted(): Entry[] {
    return this.entries
      .filter((entry) => entry.checked !== undefined || entry.good !== undefined)
      .sort((a, b) => {
        const order = this.#sources.indexOf(a.source) - this.#sources.indexOf(b.source)
        return order !== 0 ? order : keyOf(a.source, a.ref) < keyOf(b.source, b.ref) ? -1 : 1
      })
  }
}

function keyOf(source: ResourceSource, { kind, name }: ResourceRef): string {
  return `${source.name} ${kind} ${name}`
}

/** Why a ContainerNetworkMetric does not count where only one does. */
function ignoredBecause(entry: Entry, metric: Entry | undefined): string | undefined {
  if (entry.ref.kind !== 'ContainerNetworkMetric') return undefined
  const remedy = 'give it that name, or set filters.merge to true in the configuration of the agents'
  if (entry.ref.name !== METRIC_RESOURCE_NAME) {
    return `only the ContainerNetworkMetric named ${METRIC_RESOURCE_NAME} counts: ${remedy}`
  }
  return metric === undefined ? undefined : `the one from the source ${metric.source.name} stands in its place`
}

function ruleCount(resource: CompiledResource): number {
  return resource.groups.reduce((sum, { include, exclude }) => sum + include.length + exclude.length, 0)
}

/** What one document says. Never throws: what cannot be read is a mistake of the document. */
export async function checkDocument(document: Omit<ResourceDocument, 'ref' | 'uid'>): Promise<Checked> {
  const { generation } = document
  const texts = (problems: readonly Problem[]) => problems.map((problem) => problemText(problem, document))
  try {
    const result = await compileDocument(document.value)
    return result.compiled === undefined
      ? { compiled: undefined, mistakes: texts(result.mistakes), warnings: [], generation }
      : { compiled: result.compiled, mistakes: [], warnings: texts(result.warnings), generation }
  } catch (error) {
    return {
      compiled: undefined,
      mistakes: [`Cannot read the document: ${errorText(error)}`],
      warnings: [],
      generation,
    }
  }
}

/** Is it the same version? Files have no generation: there the text decides. */
function isSame(a: ResourceDocument, b: ResourceDocument): boolean {
  if (a.uid !== b.uid || a.generation !== b.generation || a.file !== b.file) return false
  return isNumbered(a) || JSON.stringify(a.value) === JSON.stringify(b.value)
}

function isNumbered({ generation, uid }: ResourceDocument): boolean {
  return generation !== 0 && uid !== ''
}

/** When rules could not be put into force: what is in force is as before, and resources that wanted a change say so. */
export function failedOutcomes({ outcomes, inForce }: Selection, error: string): Map<Entry, Outcome> {
  return new Map(
    [...outcomes].map(([entry, outcome]) => {
      if (inForce.get(entry) === entry.applied) return [entry, outcome]
      const detail = `The filters cannot be put into force; it is tried again: ${error}`
      return [entry, outcomeOf('ApplyFailed', entry.checked, detail, entry.applied)]
    }),
  )
}

/** Part of a source that has trouble when there is no room for its resources. */
export const NO_ROOM = 'number of resources'

function noRoomText({ kind, name }: ResourceRef): string {
  return `${kind} "${name}" is left out, as there are ${MAX_RESOURCES} resources: remove one and apply it again`
}
