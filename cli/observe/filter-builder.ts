import { FlowFilter } from '../../api/gen/flow/flow.ts'
import { SluiceError } from '../../base/errors.ts'
import { EXCLUSIVE_FLAGS, FILTER_FLAGS, type FilterFlag, type FilterSides, type SideNames } from './filter-flags.ts'

/** The two lists of GetFlowsRequest. */
export interface FilterLists {
  readonly allowlist: FlowFilter[]
  readonly denylist: FlowFilter[]
}

const BY_NAME = new Map(FILTER_FLAGS.map((flag) => [flag.name, flag]))

/**
 * Turns filter flags, in the order given, into FlowFilters as `hubble` does: values of one flag are alternatives,
 * different flags must all hold, a flag for both ends (`--pod`) makes two filters of which one must match, and
 * `--not` puts the flag after it into the denylist.
 */
export class FilterBuilder {
  readonly #allow = new FilterList()
  readonly #deny = new FilterList()
  #negate = false

  /** `--not` */
  not(): void {
    if (this.#negate)
      throw new SluiceError('SLUICE_USAGE', 'Cannot use --not twice in a row: want a filter flag after it')
    this.#negate = true
  }

  /**
   * @param name flag without dashes
   * @throws SluiceError SLUICE_USAGE for an unusable value, or a flag that cannot go with an earlier one
   */
  add(name: string, value: string): void {
    const flag = BY_NAME.get(name)
    if (!flag) throw new Error(`No filter flag "${name}"`)
    const list = this.#negate ? this.#deny : this.#allow
    this.#negate = false
    list.add(flag, value)
  }

  /** @throws SluiceError SLUICE_USAGE when the last flag was --not */
  finish(): FilterLists {
    if (this.#negate)
      throw new SluiceError('SLUICE_USAGE', 'Cannot use --not as the last flag: want a filter flag after it')
    return { allowlist: this.#allow.finish(), denylist: this.#deny.finish() }
  }
}

class FilterList {
  readonly #used = new Set<string>()
  readonly #sides: FilterSides = { left: newSide(), right: newSide() }

  add(flag: FilterFlag, value: string): void {
    for (const other of EXCLUSIVE_FLAGS.get(flag.name) ?? []) {
      if (this.#used.has(other)) {
        throw new SluiceError('SLUICE_USAGE', `Cannot use --${flag.name} "${value}": it does not go with --${other}`)
      }
    }
    this.#used.add(flag.name)
    try {
      flag.apply(this.#sides, value)
      for (const side of [this.#sides.left, this.#sides.right]) {
        checkNamespaces(side.source)
        checkNamespaces(side.destination)
      }
    } catch (error) {
      if (!(error instanceof RangeError)) throw error
      throw new SluiceError('SLUICE_USAGE', `Cannot use --${flag.name} "${value}": ${error.message}`, { cause: error })
    }
  }

  finish(): FlowFilter[] {
    if (this.#used.size === 0) return []
    const filters = [this.#sides.left, this.#sides.right].map(({ filter, source, destination }) => {
      const sourceNames = qualified(source)
      const destinationNames = qualified(destination)
      filter.source_pod.push(...sourceNames.pods)
      filter.source_service.push(...sourceNames.services)
      filter.destination_pod.push(...destinationNames.pods)
      filter.destination_service.push(...destinationNames.services)
      return filter
    })
    return sameFilter(filters[0]!, filters[1]!) ? [filters[0]!] : filters
  }
}

function newSide() {
  const names = (): SideNames => ({ namespaces: [], pods: [], services: [] })
  return { filter: FlowFilter.fromPartial({}), source: names(), destination: names() }
}

/** Names without a namespace get the one of --namespace; alone, a namespace means all of its pods. */
function qualified({ namespaces, pods, services }: SideNames): { pods: string[]; services: string[] } {
  if (namespaces.length === 0) return { pods, services }
  if (pods.length === 0 && services.length === 0) return { pods: namespaces.map((each) => `${each}/`), services: [] }
  const qualify = (name: string) => (name.includes('/') ? [name] : namespaces.map((each) => `${each}/${name}`))
  return { pods: pods.flatMap(qualify), services: services.flatMap(qualify) }
}

/** A name with a namespace of its own must agree with --namespace; `/name` means any. */
function checkNamespaces({ namespaces, pods, services }: SideNames): void {
  for (const name of [...pods, ...services]) {
    if (!name.includes('/') || name.startsWith('/')) continue
    const other = namespaces.find((each) => !name.startsWith(`${each}/`))
    if (other !== undefined) throw new RangeError(`"${name}" is not in namespace "${other}"`)
  }
}

function sameFilter(a: FlowFilter, b: FlowFilter): boolean {
  return Buffer.from(FlowFilter.encode(a).finish()).equals(FlowFilter.encode(b).finish())
}
