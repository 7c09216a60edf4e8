import { expect, test } from 'vitest'
import { nextChunk, type SlicedTask, SliceScheduler } from './slices.ts'

/** A task that is always busy for its whole slice. */
class Busy implements SlicedTask {
  turns = 0
  readonly #wanted: number
  readonly #done: () => void

  constructor(wanted: number, done: () => void) {
    this.#wanted = wanted
    this.#done = done
  }

  run(deadline: number): boolean {
    while (performance.now() < deadline);
    if (++this.turns < this.#wanted) return true
    this.#done()
    return false
  }

  fail(error: unknown): void {
    throw error
  }
}

test('SliceScheduler lets timers in between the slices of many tasks', async () => {
  const scheduler = new SliceScheduler()
  let left = 20
  let timers = 0
  const timer = setInterval(() => timers++, 1)
  await new Promise<void>((resolve) => {
    const tasks = Array.from({ length: 20 }, () => new Busy(3, () => --left === 0 && resolve()))
    for (const task of tasks) scheduler.schedule(task)
  })
  clearInterval(timer)
  // Sixty slices of two milliseconds, two to a turn: a timer of one millisecond comes after most turns.
  expect(timers).toBeGreaterThan(15)
  expect(scheduler.longestTurnMs).toBeLessThan(250)
})

test('SliceScheduler gives every task its turn before any gets a second one', async () => {
  const scheduler = new SliceScheduler()
  const order: number[] = []
  await new Promise<void>((resolve) => {
    for (let id = 0; id < 3; id++) {
      let turns = 0
      scheduler.schedule({
        run: () => {
          order.push(id)
          if (order.length === 6) resolve()
          return ++turns < 2
        },
        fail: () => {},
      })
    }
  })
  expect(order).toEqual([0, 1, 2, 0, 1, 2])
})

test('SliceScheduler.schedule() of a task that waits already does nothing', async () => {
  const scheduler = new SliceScheduler()
  let runs = 0
  const task = {
    run: () => {
      runs++
      return false
    },
    fail: () => {},
  }
  scheduler.schedule(task)
  scheduler.schedule(task)
  await new Promise((resolve) => setTimeout(resolve, 5))
  expect(runs).toBe(1)
})

test('SliceScheduler tells a task what it threw, and goes on with the others', async () => {
  const scheduler = new SliceScheduler()
  const told: unknown[] = []
  const broken = {
    run: () => {
      throw new Error('broken')
    },
    fail: (error: unknown) => void told.push(error),
  }
  scheduler.schedule(broken)
  await new Promise<void>((resolve) => {
    scheduler.schedule({
      run: () => {
        resolve()
        return false
      },
      fail: () => {},
    })
  })
  expect(told).toEqual([new Error('broken')])
})

test('nextChunk() grows while chunks are short, shrinks to one while they are long', () => {
  let size = 128
  const next = (tookMs: number): number => {
    size = nextChunk(size, tookMs)
    return size
  }
  expect([0.01, 0.01, 0.2, 5, 5, 0.01].map(next)).toEqual([256, 256, 256, 128, 64, 128])
  expect(nextChunk(1, 100)).toBe(1)
})
