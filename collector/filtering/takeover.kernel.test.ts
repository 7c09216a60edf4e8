import { expect, it, onTestFinished } from 'vitest'
import { Judge } from '../../filters/judge.ts'
import { eventually } from '../../test/helpers/eventually.ts'
import {
  consumer,
  facts,
  IFINDEX,
  makeNode,
  NODE,
  newState,
  pod,
  rule,
  selector,
  setOf,
} from '../../test/helpers/kernel-filter-node.ts'
import { describeKernel } from '../../test/helpers/privileged.ts'
import { FilterMaps } from '../kernel/filter-maps.ts'
import { KernelFilter } from './index.ts'

/** Rules of many classes, so that a class of one agent is another one to the next. */
const FORMER = setOf(consumer(0, rule('a', pod('x', '', 'destination'))), consumer(1, rule('b', pod('y', ''))))

describeKernel('KernelFilter at its start', () => {
  it('believes no class of a former agent: of a device that it has not met yet user space decides', async () => {
    const { k, filter, send } = makeNode()
    // Both sets of the former agent give the device a class.
    await filter.apply(FORMER)
    await filter.apply(setOf(consumer(0, rule('a', pod('shop', 'client')))))
    await filter.apply(FORMER)
    await filter[Symbol.asyncDispose]()
    const later = newState()
    const judge = new Judge({ historyEnd: () => later.history.end })
    await using next = new KernelFilter({ maps: k, ring: k.ring, state: later, judge })
    await next.apply(setOf(consumer(0, rule('a', pod('other', 'pod'))), consumer(1, rule('b', pod('shop', 'client')))))
    // Both may want it: nobody knows yet whose the device is.
    expect(send('10.0.0.2')! & 0b11).toBe(0b11)
    later.endpoints.addInterface({ ifindex: IFINDEX, name: 'veth', ips: ['10.0.0.1'] })
    later.upsertPod(facts('shop', 'client', '10.0.0.1', { nodeName: NODE }))
    await next.settled()
    expect(send('10.0.0.2')! & 0b11).toBe(0b10)
  })

  it('has no address of a former agent while its first rules come into force', async () => {
    const { k, state, filter } = makeNode()
    for (let i = 0; i < 5; i++) state.upsertPod(facts('gone', `p${i}`, `10.0.1.${i}`))
    await filter.apply(FORMER)
    await filter[Symbol.asyncDispose]()
    const later = newState()
    const judge = new Judge({ historyEnd: () => later.history.end })
    const addressesAtFlip: number[] = []
    withFlip(async (flip, maps) => {
      addressesAtFlip.push(await maps.deleteStaleAddresses(() => false))
      await flip()
    })
    await using next = new KernelFilter({ maps: k, ring: k.ring, state: later, judge })
    await next.apply(FORMER)
    expect(addressesAtFlip).toEqual([0])
  })

  it('writes what changed while the first rules came into force', async () => {
    const { state, filter, send } = makeNode()
    withFlip(async (flip) => {
      const done = flip()
      state.upsertPod(facts('shop', 'web', '10.0.0.2'))
      await done
    })
    await filter.apply(setOf(consumer(0, rule('a', pod('shop', 'web', 'destination')))))
    await eventually('the pod', () => send('10.0.0.2') === 0b01, 2000)
  })

  it('brings the newest rules into force when those before are outdated at the same time', async () => {
    const { state, filter, send } = makeNode()
    const zone = rule('zone', { op: 'node-label', selectors: [selector('zone', 'a')] })
    await filter.apply(setOf(consumer(0, zone)))
    withFlip(async (flip) => {
      state.upsertNode({ name: NODE, ips: [], labels: { zone: 'a' } })
      // Longer than the filter takes to see that the rules in force are outdated.
      await new Promise((resolve) => setTimeout(resolve, 1300))
      await flip()
    })
    await filter.apply(setOf(consumer(1, rule('b', pod('shop', 'client')))))
    await filter.readCounts()
    expect(send('10.0.0.2')).toBe(0b10)
  })
})

/** Has something happen when rules come into force, as long as the test runs. */
function withFlip(around: (flip: () => Promise<void>, maps: FilterMaps) => Promise<void>): void {
  const { flip } = FilterMaps.prototype
  FilterMaps.prototype.flip = async function (this: FilterMaps, ...args) {
    await around(() => flip.apply(this, args), this)
  }
  onTestFinished(() => {
    FilterMaps.prototype.flip = flip
  })
}
