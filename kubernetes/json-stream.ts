import { ApiError } from './api-error.ts'

const QUOTE = 0x22
const BACKSLASH = 0x5c
const OPEN_BRACE = 0x7b
const CLOSE_BRACE = 0x7d
const OPEN_BRACKET = 0x5b
const CLOSE_BRACKET = 0x5d
const COMMA = 0x2c
const SPACE = 0x20
const NEWLINE = 0x0a

/** What is not an item of a list is its kind, version and metadata: some hundred bytes. */
const MAX_FRAME = 65_536
/** The list's own field of that name: `items` deeper down, or at the end of a value, is not preceded so. */
const ITEMS_KEY = /[{,]\s*"items"\s*:\s*$/

/** Depth of brackets inside of the array of items. */
const IN_ITEMS = 2

/**
 * Cuts the items out of a list's text as it arrives, so that a list of any length costs the memory of one item and
 * time is taken item by item. Brackets and strings are followed; that an item is JSON is for its parser to say.
 */
export class ListScanner {
  readonly #action: string
  readonly #pieces: Pieces
  readonly #frame: Pieces
  #depth = 0
  #isInString = false
  #isEscaped = false
  #isInItems = false

  /** @param action for errors: `list pods` @param maxItemBytes longer items are refused */
  constructor(action: string, maxItemBytes: number) {
    this.#action = action
    this.#pieces = new Pieces(action, 'an object', maxItemBytes)
    this.#frame = new Pieces(action, 'what is around the items', MAX_FRAME)
  }

  /** Items that this chunk completes. @throws ApiError malformed, too_large */
  feed(chunk: Buffer): Buffer[] {
    const items: Buffer[] = []
    let start = 0
    let depth = this.#depth
    let isInString = this.#isInString
    let isEscaped = this.#isEscaped
    for (let i = 0; i < chunk.length; i++) {
      const byte = chunk[i]!
      if (isInString) {
        if (isEscaped) isEscaped = false
        else if (byte === BACKSLASH) isEscaped = true
        else if (byte === QUOTE) isInString = false
      } else if (byte === QUOTE) {
        isInString = true
      } else if (byte === OPEN_BRACE || byte === OPEN_BRACKET) {
        if (this.#isInItems && depth === IN_ITEMS) start = this.#skip(chunk, start, i)
        depth++
        if (depth === IN_ITEMS && byte === OPEN_BRACKET && this.#opensItems(chunk, start, i)) start = i + 1
      } else if (byte === CLOSE_BRACE || byte === CLOSE_BRACKET) {
        if (this.#isInItems && depth === IN_ITEMS) {
          start = this.#skip(chunk, start, i)
          this.#isInItems = false
        }
        depth--
        if (this.#isInItems && depth === IN_ITEMS) {
          items.push(this.#pieces.whole(chunk.subarray(start, i + 1)))
          start = i + 1
        }
      }
    }
    this.#depth = depth
    this.#isInString = isInString
    this.#isEscaped = isEscaped
    if (!this.#isInItems) this.#frame.add(chunk.subarray(start))
    else if (depth > IN_ITEMS) this.#pieces.add(chunk.subarray(start))
    else this.#skip(chunk, start, chunk.length)
    return items
  }

  /** What is around the items, when the text is over. @throws ApiError malformed: it is cut off, or no JSON */
  end(): unknown {
    if (this.#depth !== 0 || this.#isInString || this.#isInItems) throw this.#malformed('it is cut off')
    try {
      return JSON.parse(this.#frame.whole(EMPTY).toString('utf8')) as unknown
    } catch (cause) {
      throw this.#malformed('it is no JSON', cause)
    }
  }

  #opensItems(chunk: Buffer, start: number, at: number): boolean {
    const before = this.#frame.tail() + chunk.toString('latin1', Math.max(start, at - 64), at)
    if (!ITEMS_KEY.test(before)) return false
    this.#frame.add(chunk.subarray(start, at + 1))
    this.#isInItems = true
    return true
  }

  /** Between items stands what separates them, and nothing else. @returns `to` */
  #skip(chunk: Buffer, from: number, to: number): number {
    for (let i = from; i < to; i++) {
      const byte = chunk[i]!
      if (byte !== COMMA && byte > SPACE) throw this.#malformed('an item is no object')
    }
    return to
  }

  #malformed(why: string, cause?: unknown): ApiError {
    return new ApiError('malformed', `Cannot ${this.#action}: the answer is no list: ${why}`, { cause })
  }
}

/** Cuts a watch's text into lines. */
export class LineScanner {
  readonly #pieces: Pieces

  constructor(action: string, maxLineBytes: number) {
    this.#pieces = new Pieces(action, 'a line', maxLineBytes)
  }

  /** Lines that this chunk completes, without their ends. @throws ApiError too_large */
  feed(chunk: Buffer): Buffer[] {
    const lines: Buffer[] = []
    let start = 0
    for (let end = chunk.indexOf(NEWLINE); end >= 0; end = chunk.indexOf(NEWLINE, start)) {
      const line = this.#pieces.whole(chunk.subarray(start, end))
      start = end + 1
      if (line.length > 0) lines.push(line)
    }
    this.#pieces.add(chunk.subarray(start))
    return lines
  }

  /** Whether a line has begun that has no end. */
  get isMidLine(): boolean {
    return this.#pieces.length > 0
  }
}

const EMPTY = Buffer.alloc(0)

/** Bytes of something that spans chunks. */
class Pieces {
  length = 0
  readonly #action: string
  readonly #what: string
  readonly #max: number
  #pieces: Buffer[] = []

  constructor(action: string, what: string, max: number) {
    this.#action = action
    this.#what = what
    this.#max = max
  }

  add(piece: Buffer): void {
    if (piece.length === 0) return
    this.length += piece.length
    this.#check()
    this.#pieces.push(piece)
  }

  /** All of it with its last piece, which is then forgotten. */
  whole(last: Buffer): Buffer {
    this.length += last.length
    this.#check()
    const all = this.#pieces.length === 0 ? last : Buffer.concat([...this.#pieces, last])
    this.#pieces = []
    this.length = 0
    return all
  }

  /** The last 64 bytes, as latin1. */
  tail(): string {
    let text = ''
    for (let i = this.#pieces.length - 1; i >= 0 && text.length < 64; i--)
      text = this.#pieces[i]!.toString('latin1') + text
    return text.slice(-64)
  }

  #check(): void {
    if (this.length <= this.#max) return
    const text = `Cannot ${this.#action}: ${this.#what} has more than ${this.#max} bytes`
    throw new ApiError('too_large', text)
  }
}
