/**
 * Waits until a condition holds, asking every 10 ms. The default is long, as emulated machines are slow.
 *
 * @throws Error naming what was waited for, after `timeoutMs`
 */
export async function eventually(what: string, holds: () => unknown, timeoutMs = 15_000): Promise<void> {
  const deadline = performance.now() + timeoutMs
  for (;;) {
    const answer = await holds()
    if (answer) return
    if (performance.now() > deadline) throw new Error(`Waited ${timeoutMs} ms in vain: ${what}`)
    await new Promise((resolve) => setTimeout(resolve, 10))
  }
}
