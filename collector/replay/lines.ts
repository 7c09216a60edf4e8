import { createReadStream } from 'node:fs'
import { createGunzip } from 'node:zlib'

/** Lines longer than this are no flows: Hubble's own reader stops at 64 KiB. */
export const MAX_LINE_BYTES = 1024 * 1024

/** A line of a file; `text` is undefined when it was longer than MAX_LINE_BYTES. */
export interface Line {
  readonly number: number
  readonly text: string | undefined
}

/**
 * Lines of a file, gzip taken off where its name ends in `.gz`. Holds one chunk and one line in memory, however large
 * the file is; a last line without a newline counts.
 */
export async function* linesOf(path: string): AsyncGenerator<Line> {
  const file = createReadStream(path)
  const stream = path.endsWith('.gz') ? file.pipe(createGunzip()) : file
  // pipe() does not hand on errors.
  file.on('error', (error) => stream.destroy(error))
  let number = 0
  let parts: Buffer[] = []
  let size = 0
  const take = (part: Buffer) => {
    size += part.length
    if (size <= MAX_LINE_BYTES) parts.push(part)
    else parts = []
  }
  const finish = (): Line => {
    const text = size <= MAX_LINE_BYTES ? Buffer.concat(parts).toString('utf8') : undefined
    parts = []
    size = 0
    return { number: ++number, text }
  }
  try {
    for await (const chunk of stream as AsyncIterable<Buffer>) {
      let from = 0
      for (let at = chunk.indexOf(10); at >= 0; at = chunk.indexOf(10, from)) {
        take(chunk.subarray(from, at))
        yield finish()
        from = at + 1
      }
      if (from < chunk.length) take(Buffer.from(chunk.subarray(from)))
    }
    if (size > 0) yield finish()
  } finally {
    stream.destroy()
    file.destroy()
  }
}
