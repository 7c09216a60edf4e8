import type { Readable } from 'node:stream'

/** Where text goes: process.stdout, or a test's buffer. `write` says false when the reader is behind. */
export interface TextOutput {
  write(text: string): boolean
  once(event: 'drain' | 'close', listener: () => void): unknown
  removeListener(event: 'drain' | 'close', listener: () => void): unknown
  readonly isTTY?: boolean
  readonly columns?: number
}

/** What a command may touch of the world around it. */
export interface Io {
  readonly stdout: TextOutput
  readonly stderr: TextOutput
  readonly stdin: Readable
  readonly env: NodeJS.ProcessEnv
  /** Milliseconds since 1970: relative times count from here. */
  now(): number
  /** Fires on Ctrl-C and SIGTERM. */
  readonly signal: AbortSignal
}

/** Writes and waits while the reader is behind: what is printed is never piled up in memory. */
export async function writeText(output: TextOutput, text: string): Promise<void> {
  if (output.write(text)) return
  await new Promise<void>((resolve) => {
    const done = () => {
      output.removeListener('drain', done)
      output.removeListener('close', done)
      resolve()
    }
    output.once('drain', done)
    output.once('close', done)
  })
}

/** Gathers lines and writes them in pieces: a system call per 16 KiB, not per line. */
export class LineWriter {
  readonly #output: TextOutput
  #text = ''

  constructor(output: TextOutput) {
    this.#output = output
  }

  /** @returns a promise when the reader is behind: await it before writing more */
  write(text: string): Promise<void> | undefined {
    this.#text += text
    return this.#text.length < 16_384 ? undefined : this.flush()
  }

  flush(): Promise<void> | undefined {
    if (this.#text === '') return undefined
    const text = this.#text
    this.#text = ''
    return writeText(this.#output, text)
  }
}
