import { onTestFinished } from 'vitest'
import { type ClientOptions, ObserverClient } from '../../api/client.ts'
import { type ApiDeps, type ApiOptions, ApiServer } from '../../api/server.ts'
import type { FlowStore } from '../../model/contracts.ts'

/** A server on a free port of this machine, and a client of it; both end with the test. */
export async function startApi(
  store: FlowStore,
  options: { deps?: Partial<ApiDeps>; api?: Partial<ApiOptions>; client?: Partial<ClientOptions> } = {},
): Promise<{ server: ApiServer; client: ObserverClient; address: string }> {
  const listen = [{ kind: 'tcp', host: '127.0.0.1', port: 0 }] as const
  const server = new ApiServer({ store, version: '0.1.0', ...options.deps }, { listen, ...options.api })
  onTestFinished(() => server.stop(200))
  await server.start()
  const address = server.addresses[0]!
  const client = await ObserverClient.create({ server: address, ...options.client })
  onTestFinished(() => client[Symbol.dispose]())
  return { server, client, address }
}

/** All of a stream. */
export async function collect<T>(stream: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = []
  for await (const item of stream) all.push(item)
  return all
}

/** Waits until something holds; fails with the text of `what` after ten seconds. */
export async function until(what: string, holds: () => boolean): Promise<void> {
  const deadline = performance.now() + 10_000
  while (!holds()) {
    if (performance.now() > deadline) throw new Error(`Still not so after 10 s: ${what}`)
    await new Promise((resolve) => setTimeout(resolve, 5))
  }
}

/** A gauge or counter of the server, summed over its labels. */
export function gauge(server: { collect: (sink: never) => void }, name: string): number {
  let sum = 0
  const add = (found: string, _help: string, value: number): void => {
    if (found === name) sum += value
  }
  server.collect({ counter: add, gauge: add } as never)
  return sum
}

/** The first item of a stream, which is then ended. */
export async function firstOf<T>(stream: AsyncIterable<T>, abort: AbortController): Promise<T | undefined> {
  for await (const item of stream) {
    abort.abort()
    return item
  }
  return undefined
}
