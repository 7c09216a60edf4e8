import { expect, test } from 'vitest'
import { Pacer } from './pacer.ts'

function work(ms: number): void {
  const end = performance.now() + ms
  while (performance.now() < end);
}

const turn = () => new Promise<void>((resolve) => setImmediate(resolve))

test('Pacer gives a turn of the event loop to one of its users at a time, each in its order', async () => {
  const pacer = new Pacer(2)
  const done: string[] = []
  let turns = 0
  let running = 3
  const user = async (name: string) => {
    for (let i = 0; i < 5; i++) {
      work(3)
      done.push(`${name}${i}@${turns}`)
      if (pacer.isOver) await pacer.next()
    }
    running--
  }
  const users = ['a', 'b', 'c'].map(user)
  while (running > 0) {
    await turn()
    turns++
  }
  await Promise.all(users)
  const perTurn = new Map<string, number>()
  for (const each of done) perTurn.set(each.split('@')[1]!, (perTurn.get(each.split('@')[1]!) ?? 0) + 1)
  expect(done).toHaveLength(15)
  // All three begin in the first turn; from then on each turn is one user's.
  const later = [...perTurn].filter(([at]) => at !== '0').map(([, count]) => count)
  expect(Math.max(...later)).toBeLessThanOrEqual(2)
  // The first user begins the turn and has its time; then they take turns.
  const order = done.map((each) => each[0]).join('')
  expect(order.slice(0, 10)).toBe('aabcabcabc')
})

test('Pacer holds nobody up while there is time', async () => {
  const pacer = new Pacer(1000)
  expect([pacer.isOver, pacer.isOver, pacer.isOver]).toEqual([false, false, false])
  await pacer.next()
  expect(pacer.isOver).toBe(false)
})
