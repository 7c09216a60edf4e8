import type { Io, TextOutput } from './io.ts'

export type ColorMode = 'auto' | 'always' | 'never'

/** Colours for a terminal; without one, the text as it is. */
export class Paint {
  readonly enabled: boolean

  constructor(enabled: boolean) {
    this.enabled = enabled
  }

  red(text: string): string {
    return this.#wrap(31, text)
  }
  green(text: string): string {
    return this.#wrap(32, text)
  }
  yellow(text: string): string {
    return this.#wrap(33, text)
  }
  magenta(text: string): string {
    return this.#wrap(35, text)
  }
  cyan(text: string): string {
    return this.#wrap(36, text)
  }
  bold(text: string): string {
    return this.#wrap(1, text)
  }
  dim(text: string): string {
    return this.#wrap(2, text)
  }

  #wrap(code: number, text: string): string {
    return this.enabled ? `\x1b[${code}m${text}\x1b[0m` : text
  }
}

/** @param mode auto: on a terminal, unless NO_COLOR is set (no-color.org) or TERM is dumb */
export function paintFor(io: Io, mode: ColorMode = 'auto', output: TextOutput = io.stdout): Paint {
  if (mode !== 'auto') return new Paint(mode === 'always')
  const wanted = (io.env['NO_COLOR'] ?? '') === '' && io.env['TERM'] !== 'dumb'
  return new Paint(wanted && output.isTTY === true)
}
