import { expect, test, vi } from 'vitest'
import { Judge } from '../../filters/judge.ts'
import { Drained } from './drained.ts'

function make() {
  const ring = { position: 0, produced: 100 }
  const judge = new Judge({ historyEnd: () => 0 })
  const trust = vi.spyOn(judge, 'trust')
  return { ring, trust, drained: new Drained(ring, judge) }
}

test('Drained.wait() ends when the ring was read to where it was written at the mark', async () => {
  const { ring, trust, drained } = make()
  using _ = drained
  expect(await drained.wait(1000)).toBe(true)
  drained.mark()
  ring.produced = 500
  setTimeout(() => {
    ring.position = 100
  }, 30)
  expect(await drained.wait(1000)).toBe(true)
  expect(trust.mock.calls).toEqual([[true]])
})

test('Drained.wait() has the judge believe nothing when the ring is not read, until it is', async () => {
  const { ring, trust, drained } = make()
  using _ = drained
  drained.mark()
  expect(await drained.wait(30)).toBe(false)
  expect(trust.mock.calls).toEqual([[false]])
  ring.position = 100
  await vi.waitFor(() => expect(trust.mock.calls).toEqual([[false], [true]]))
})
