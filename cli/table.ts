/**
 * Columns padded with three spaces, the last one not padded: the form of `hubble` and kubectl.
 *
 * @param rows may have fewer cells than the first
 */
export function formatTable(rows: readonly (readonly string[])[]): string {
  const widths: number[] = []
  for (const row of rows) {
    // A row's last cell is not padded, so it does not make its column wider.
    for (const [i, cell] of row.slice(0, -1).entries()) widths[i] = Math.max(widths[i] ?? 0, textWidth(cell))
  }
  let text = ''
  for (const row of rows) {
    const last = row.length - 1
    row.forEach((cell, i) => {
      text += i === last ? cell : cell + ' '.repeat(widths[i]! - textWidth(cell) + 3)
    })
    text += '\n'
  }
  return text
}

// biome-ignore lint/suspicious/noControlCharactersInRegex: colours begin with ESC
const COLOR = /\x1b\[\d+m/g

/** Cells on the terminal, one per character; colours take none. */
function textWidth(text: string): number {
  return text.includes('\x1b') ? text.replace(COLOR, '').length : [...text].length
}

/** `12,345`: for people. */
export function withCommas(value: number | bigint): string {
  return value.toString().replace(/\B(?=(\d{3})+$)/g, ',')
}
