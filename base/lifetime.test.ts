import { describe, expect, it } from 'vitest'
import { Disposables, disposable } from './lifetime.ts'

describe('disposable()', () => {
  it('calls the function once, however often it is disposed', () => {
    let calls = 0
    const one = disposable(() => calls++)
    one[Symbol.dispose]()
    one[Symbol.dispose]()
    expect(calls).toBe(1)
  })
})

describe('Disposables', () => {
  it('disposes the newest first, each once', () => {
    const order: number[] = []
    const all = new Disposables()
    for (const i of [1, 2, 3]) all.use(disposable(() => order.push(i)))
    all[Symbol.dispose]()
    all[Symbol.dispose]()
    expect(order).toEqual([3, 2, 1])
  })

  it('disposes the rest when one throws, and throws that', () => {
    const order: number[] = []
    const all = new Disposables()
    const failing = (i: number) => ({
      [Symbol.dispose]() {
        throw new Error(`no ${i}`)
      },
    })
    all.use(disposable(() => order.push(1)))
    all.use(failing(2))
    expect(() => all[Symbol.dispose]()).toThrow(new Error('no 2'))
    expect(order).toEqual([1])
    all.use(failing(3))
    all.use(failing(4))
    expect(() => all[Symbol.dispose]()).toThrow(AggregateError)
  })
})
