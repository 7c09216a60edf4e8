import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { ObjectStore } from './object-store.ts'
import type { ApiObject } from './resource.ts'

interface Kept {
  readonly name: string
  readonly uid: string
  readonly version: string
}

const object = (name: string, uid: string, version: string): ApiObject => ({
  metadata: { namespace: 'a', name, uid, resourceVersion: version },
})

/** A user of the store: what it holds if it does what it is told, and whether it was told anything twice. */
class User {
  readonly held = new Map<string, Kept>()
  readonly told: string[] = []
  /** Versions that cannot be read. */
  readonly #broken: (version: string) => boolean

  constructor(broken: (version: string) => boolean = () => false) {
    this.#broken = broken
  }

  pick({ metadata }: ApiObject): Kept {
    if (this.#broken(metadata.resourceVersion)) throw new Error('unreadable')
    return { name: metadata.name, uid: metadata.uid, version: metadata.resourceVersion }
  }

  onUpsert(now: Kept, before: Kept | undefined): void {
    expect(this.held.get(now.name)).toEqual(before)
    expect(before === undefined || before.uid === now.uid).toBe(true)
    expect(before?.version).not.toBe(now.version)
    this.held.set(now.name, now)
    this.told.push(`${now.uid}@${now.version}`)
  }

  onDelete(last: Kept): void {
    expect(this.held.get(last.name)).toEqual(last)
    this.held.delete(last.name)
  }
}

const store = (user: User, max = 100) =>
  new ObjectStore<Kept>(
    {
      pick: (each) => user.pick(each),
      onUpsert: (now, before) => user.onUpsert(now, before),
      onDelete: (last) => user.onDelete(last),
    },
    max,
  )

type Step =
  | { readonly kind: 'write'; readonly name: number; readonly isNew: boolean }
  | { readonly kind: 'delete'; readonly name: number }
  | { readonly kind: 'see' }
  | { readonly kind: 'list' }

const steps = fc.array(
  fc.oneof(
    fc.record({ kind: fc.constant('write' as const), name: fc.nat(5), isNew: fc.boolean() }),
    fc.record({ kind: fc.constant('delete' as const), name: fc.nat(5) }),
    fc.record({ kind: fc.constant('see' as const) }),
    fc.record({ kind: fc.constant('list' as const) }),
  ),
  { maxLength: 60 },
)

describe('ObjectStore', () => {
  test('brings its user to what there is, by watches and lists in any order, telling no version twice', async () => {
    const property = fc.asyncProperty(steps, async (sequence: readonly Step[]) => {
      const user = new User()
      const kept = store(user)
      const real = new Map<string, ApiObject>()
      /** What a watch would tell, and has not yet; a list makes it superfluous. */
      let events: { readonly type: string; readonly object: ApiObject }[] = []
      let version = 0
      for (const step of [...sequence, { kind: 'see' as const }]) {
        if (step.kind === 'write') {
          const name = `p${step.name}`
          const old = real.get(name)
          if (step.isNew && old !== undefined) events.push({ type: 'DELETED', object: old })
          const uid = old === undefined || step.isNew ? `uid-${++version}` : old.metadata.uid
          const next = object(name, uid, String(++version))
          real.set(name, next)
          events.push({ type: 'MODIFIED', object: next })
        } else if (step.kind === 'delete') {
          const old = real.get(`p${step.name}`)
          if (old === undefined) continue
          real.delete(`p${step.name}`)
          events.push({
            type: 'DELETED',
            object: { metadata: { ...old.metadata, resourceVersion: String(++version) } },
          })
        } else if (step.kind === 'see') {
          for (const event of events) event.type === 'DELETED' ? kept.delete(event.object) : kept.upsert(event.object)
          events = []
        } else {
          kept.beginList()
          for (const each of real.values()) kept.upsert(each)
          await kept.endList(() => undefined)
          events = []
        }
      }
      const wanted = [...real.values()].map(({ metadata }) => `${metadata.uid}@${metadata.resourceVersion}`).sort()
      expect([...user.held.values()].map(({ uid, version: v }) => `${uid}@${v}`).sort()).toEqual(wanted)
      expect(new Set(user.told).size).toBe(user.told.length)
      expect(kept.handlerErrors).toBe(0)
    })
    await fc.assert(property, { seed: 5, numRuns: 300 })
  })

  test('does not come to harm by a user that throws', async () => {
    const kept = new ObjectStore<string>(
      {
        pick: ({ metadata }) => metadata.name,
        onUpsert: () => {
          throw new Error('bug')
        },
        onDelete: () => {
          throw new Error('bug')
        },
      },
      10,
    )
    kept.upsert(object('p', 'u', '1'))
    kept.delete(object('p', 'u', '2'))
    expect([kept.size, kept.handlerErrors]).toEqual([0, 2])
  })

  test('keeps the last good version of an object that cannot be read any more, but not of another one', () => {
    const user = new User((version) => version.startsWith('bad'))
    const kept = store(user)
    kept.upsert(object('p', 'u1', '1'))
    kept.upsert(object('p', 'u1', 'bad2'))
    expect(kept.get('a', 'p')?.version).toBe('1')
    kept.upsert(object('p', 'u2', 'bad3'))
    expect(kept.get('a', 'p')).toBeUndefined()
    expect([user.held.size, kept.unreadable]).toEqual([0, 2])
  })

  test.each([
    ['no metadata', {}],
    ['null', { metadata: null }],
    ['a number for it', { metadata: 7 }],
    ['no name', { metadata: { uid: 'u', resourceVersion: '1' } }],
    ['an empty name', { metadata: { name: '', uid: 'u', resourceVersion: '1' } }],
    ['no version', { metadata: { name: 'p', uid: 'u' } }],
    ['a uid that is no text', { metadata: { name: 'p', uid: 1, resourceVersion: '1' } }],
  ])('counts an object with %s', (_what, broken) => {
    const kept = store(new User())
    kept.upsert(broken as ApiObject)
    kept.delete(broken as ApiObject)
    expect([kept.size, kept.unreadable]).toEqual([0, 2])
  })
})
