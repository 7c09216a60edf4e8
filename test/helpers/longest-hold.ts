/**
 * Does work, and measures how long the event loop was held at most meanwhile, milliseconds by the wall clock: what others
 * take of a busy machine is in it.
 */
export async function longestHold<T>(
  work: () => Promise<T>,
): Promise<{ readonly result: T; readonly longestMs: number }> {
  let longestMs = 0
  let last = performance.now()
  const timer = setInterval(() => {
    longestMs = Math.max(longestMs, performance.now() - last)
    last = performance.now()
  }, 1)
  try {
    const result = await work()
    return { result, longestMs }
  } finally {
    clearInterval(timer)
  }
}
