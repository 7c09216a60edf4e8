import { setTimeout as sleep } from 'node:timers/promises'

/** News of work, or its end. */
export type News<T> =
  | { readonly progress: { readonly step: string; readonly done: number }; readonly result?: undefined }
  | { readonly progress?: undefined; readonly result: T }

/** News are for people: five a second are enough. */
const INTERVAL_MS = 200

/**
 * Work that tells how far it is, as a stream: the newest news now and then, last the result.
 *
 * @throws what the work throws
 */
export async function* withNews<T>(
  work: (onNews: (step: string, done: number) => void) => Promise<T>,
): AsyncGenerator<News<T>> {
  let newest: { step: string; done: number } | undefined
  let isOver = false
  let wake: () => void = () => {}
  const result = work((step, done) => {
    newest = { step, done }
    wake()
  })
  // Also handles the failure of work that nobody waits for any more.
  const over = result.then(
    () => {},
    () => {},
  )
  void over.then(() => {
    isOver = true
    wake()
  })
  while (!isOver) {
    if (newest === undefined) {
      await new Promise<void>((resolve) => {
        wake = resolve
      })
      continue
    }
    const progress = newest
    newest = undefined
    yield { progress }
    await Promise.race([sleep(INTERVAL_MS, undefined, { ref: false }), over])
  }
  yield { result: await result }
}
