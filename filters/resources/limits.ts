/**
 * Bounds of one resource. They keep reading it within milliseconds and what it compiles to within what can be asked of
 * every event; what is beyond is refused with the number met and the number there is room for.
 */
export const LIMITS = {
  /** Filters of one list. */
  filters: 256,
  /** Values of one list: pods, addresses, protocols ... */
  values: 1024,
  /** Characters of one value. */
  text: 512,
  /** Labels or expressions of one selector. */
  labels: 64,
  /** JSON values of a document, of any kind. */
  nodes: 40_000,
  /** Characters of a document's texts together. */
  characters: 400_000,
  /** Objects and lists within each other. */
  depth: 16,
  /** Mistakes and warnings told of one document. */
  mistakes: 20,
} as const
