/** JSON text as Go's encoder writes it around protojson. For what is cached or rare: these allocate. */

const GO_ESCAPES: Readonly<Record<string, string>> = {
  '<': '\\u003c',
  '>': '\\u003e',
  '&': '\\u0026',
  '\u2028': '\\u2028',
  '\u2029': '\\u2029',
}

/**
 * A string literal. Quotes, backslashes and controls are escaped as everywhere; `<`, `>`, `&`, U+2028 and U+2029 as
 * Go's encoder does. A half of a surrogate pair becomes U+FFFD: a line is valid UTF-8 whatever the traffic said.
 */
export function jsonString(text: string): string {
  return JSON.stringify(text.replace(/\p{Surrogate}/gu, '\ufffd')).replace(
    /[<>&\u2028\u2029]/g,
    (character) => GO_ESCAPES[character]!,
  )
}

/** Members of an object under construction; empty and zero members are left out, as protojson does. */
export class JsonMembers {
  #text = ''

  /** Adds a member whose value is JSON text already. */
  raw(name: string, json: string): this {
    this.#text += `${this.#text === '' ? '' : ','}"${name}":${json}`
    return this
  }

  string(name: string, value: string): this {
    return value === '' ? this : this.raw(name, jsonString(value))
  }

  number(name: string, value: number): this {
    return value === 0 ? this : this.raw(name, String(value))
  }

  /** uint64: a decimal string in protojson. @param value whole number */
  long(name: string, value: number): this {
    return value === 0 ? this : this.raw(name, `"${BigInt(value)}"`)
  }

  strings(name: string, values: readonly string[]): this {
    return values.length === 0 ? this : this.raw(name, `[${values.map(jsonString).join(',')}]`)
  }

  /** The members with a comma before the first: a piece to go on another object with. Empty for no members. */
  get tail(): string {
    return this.#text === '' ? '' : `,${this.#text}`
  }

  /** `{...}` */
  toString(): string {
    return `{${this.#text}}`
  }
}
