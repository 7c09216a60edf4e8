import { FilterLimit } from '../../model/layouts.gen.ts'
import type { Branch } from './branches.ts'
import { dimensionOf, type IpTest, type PortTest, type Term } from './term.ts'

/** Both sets of rules share the kernel's tables of ports and prefixes. */
const MAX_PORTS = FilterLimit.PORTS / 2
const MAX_PREFIXES = FilterLimit.PREFIXES / 2

const TOO_MANY_PORTS = `the kernel's table has room for ${MAX_PORTS} ports`
const TOO_MANY_PREFIXES = `the kernel's table has room for ${MAX_PREFIXES} addresses and prefixes`

/** Room in the tables of ports and prefixes. Tests that find none are left to user space. */
export class Capacity {
  readonly #ports = new Set<number>()
  #prefixes = 1

  /** The branch, without the tests whose ports or prefixes do not fit. */
  fit(branch: Branch): Branch {
    const because = new Set(branch.because)
    const tests = branch.tests.filter((term) => {
      const dimension = dimensionOf(term)
      if (dimension?.endsWith('-port') && !this.#takePorts(term)) because.add(TOO_MANY_PORTS)
      else if (dimension?.endsWith('-ip') && !this.#takePrefixes(term)) because.add(TOO_MANY_PREFIXES)
      else return true
      return false
    })
    return { tests, because }
  }

  #takePorts(term: Term): boolean {
    const ports = new Set(fieldsOf(term).flatMap((test) => (test as PortTest).ports))
    const fresh = [...ports].filter((port) => !this.#ports.has(port))
    if (this.#ports.size + fresh.length > MAX_PORTS) return false
    for (const port of fresh) this.#ports.add(port)
    return true
  }

  #takePrefixes(term: Term): boolean {
    const count = fieldsOf(term).reduce<number>((sum, test) => {
      const { addresses, prefixes } = test as IpTest
      return sum + addresses.length + prefixes.length
    }, 0)
    if (this.#prefixes + count > MAX_PREFIXES) return false
    this.#prefixes += count
    return true
  }
}

function fieldsOf(term: Term): unknown[] {
  if (term.op === 'all' || term.op === 'any') return term.of.flatMap(fieldsOf)
  return term.op === 'field' ? [term.test] : []
}
