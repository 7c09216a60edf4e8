/**
 * A stream of records laid out as struct flow_event (bpf/events.h), read in place. The kernel's ring, a replayed
 * file and the proxies' queue all look like this to the pipeline.
 *
 *     released        position                     committed
 *        │ read, not    │ next() gives these          │
 *        ▼ given back   ▼                             ▼
 *   ─────┬──────────────┬─────────────────────────────┬─────►  positions, in bytes, only ever grow
 *
 * A record's bytes stay as they are until release() passes them, so the same offset may be read again until then.
 */
export interface RecordReader {
  /** Views over the same bytes; a record is always contiguous in them, and starts at a multiple of 8. */
  readonly u8: Uint8Array
  readonly u16: Uint16Array
  readonly u32: Uint32Array
  /** Byte offset of the next record in the views, -1 when none is ready. Skips what the writer discarded. Never throws. */
  next(): number
  /**
   * Position just after what next() returned or skipped last; at first, where reading starts. An integer below 2^53. It
   * may move without a record having been returned.
   */
  readonly position: number
  /** Gives everything before a position back to the writer. @param position one that was read, never less than before */
  release(position: number): void
}
