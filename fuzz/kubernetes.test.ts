import { describe, expect } from 'vitest'
import {
  namespaceObject,
  nodeObject,
  ownerObject,
  podObject,
  serviceObject,
  sliceObject,
} from '../collector/metadata/kubernetes-objects.ts'
import { PodTable } from '../collector/metadata/kubernetes-pods.ts'
import { ServiceBook } from '../collector/metadata/kubernetes-services.ts'
import { CollectorState } from '../collector/state.ts'
import { ApiError, eventError } from '../kubernetes/api-error.ts'
import { LineScanner, ListScanner } from '../kubernetes/json-stream.ts'
import { type ObjectHandler, ObjectStore } from '../kubernetes/object-store.ts'
import type { ApiObject } from '../kubernetes/resource.ts'
import { fuzzText } from '../test/helpers/fuzz.ts'

const history = { capacity: 64, l7Bytes: 4096 }
const state = new CollectorState({ nodeName: 'n', uuidSeed: new Uint32Array([1, 2, 3, 4]), history })
const pods = new PodTable(state, { namespaceLabels: () => undefined, ownerOf: () => undefined })
const services = new ServiceBook(state)

function store<T>(handler: ObjectHandler<T>): ObjectStore<T> {
  return new ObjectStore(handler, 100)
}

const nothing = () => {}
const stores = [
  store({ pick: podObject, onUpsert: (pod) => pods.upsert(pod), onDelete: (pod) => pods.delete(pod) }),
  store({
    pick: nodeObject,
    onUpsert: (node) => state.upsertNode(node),
    onDelete: ({ name }) => state.deleteNode(name),
  }),
  store({
    pick: serviceObject,
    onUpsert: (service) => services.upsertService(service),
    onDelete: (service) => services.deleteService(service),
  }),
  store({
    pick: (object) => sliceObject(object, () => true),
    onUpsert: (slice) => services.upsertSlice(slice),
    onDelete: (slice) => services.deleteSlice(slice),
  }),
  store({ pick: namespaceObject, onUpsert: nothing, onDelete: nothing }),
  store({ pick: ownerObject, onUpsert: nothing, onDelete: nothing }),
]

/** The answer of a list, in pieces, into every table. */
function list(text: string): void {
  const bytes = Buffer.from(text)
  const scanner = new ListScanner('list fuzz', 32_768)
  const size = 1 + (bytes.length % 97)
  for (const each of stores) each.beginList()
  for (let at = 0; at < bytes.length; at += size) {
    for (const item of scanner.feed(bytes.subarray(at, at + size))) {
      const object = JSON.parse(item.toString('utf8')) as ApiObject
      for (const each of stores) each.upsert(object)
    }
  }
  scanner.end()
}

function watch(text: string): void {
  const scanner = new LineScanner('watch fuzz', 32_768)
  for (const line of scanner.feed(Buffer.from(text))) {
    const event = JSON.parse(line.toString('utf8')) as { type?: unknown; object?: unknown } | null
    if (event?.type === 'ERROR') expect(eventError('watch fuzz', event.object)).toBeInstanceOf(ApiError)
    if (typeof event?.object !== 'object' || event.object === null) continue
    for (const each of stores) {
      if (event.type === 'DELETED') each.delete(event.object as ApiObject)
      else each.upsert(event.object as ApiObject)
    }
  }
}

const tokens = [
  ...[
    '{',
    '}',
    '[',
    ']',
    ',',
    ':',
    '"',
    '\\',
    '\n',
    'null',
    '7',
    '"items":[',
    '"metadata":{',
    '"name":"p"',
    '"uid":"u"',
  ],
  ...[
    '"resourceVersion":"1"',
    '"status":',
    '"spec":',
    '"podIPs":',
    '"ip":"10.0.0.1"',
    '"labels":{"a":1}',
    '"type":"ADDED"',
  ],
]

const refuses = (error: unknown) => error instanceof ApiError || error instanceof SyntaxError

describe('fuzz: answers of the Kubernetes API', () => {
  fuzzText(
    'any list is read or refused, and no object of it breaks a table',
    {
      corpus: 'kubernetes',
      tokens,
      target: (text) => {
        try {
          list(text)
        } finally {
          expect(stores.map(({ handlerErrors }) => handlerErrors)).toEqual(stores.map(() => 0))
        }
      },
    },
    { refuses },
  )

  fuzzText(
    'any line of a watch is read or refused, and no object of it breaks a table',
    {
      corpus: 'kubernetes',
      tokens,
      target: (text) => {
        try {
          watch(text)
        } finally {
          expect(stores.map(({ handlerErrors }) => handlerErrors)).toEqual(stores.map(() => 0))
        }
      },
    },
    { refuses },
  )
})
