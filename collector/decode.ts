import { EVENT_VERSION, EventType, FLOW_EVENT, L7_PAYLOAD_MAX } from '../model/layouts.gen.ts'
import type { RecordReader } from './source.ts'

/** Why a record cannot be read; the words are labels of `sluice_decode_failures_total`. */
export const DECODE_FAILURES = ['truncated', 'unknown_version', 'unknown_type', 'bad_size', 'bad_ip_version'] as const
export type DecodeFailure = (typeof DECODE_FAILURES)[number]

const MAX_SIZE = FLOW_EVENT.SIZE + L7_PAYLOAD_MAX

/**
 * Says whether the record at an offset can be read: nothing after this looks at sizes again.
 *
 * @returns undefined when it can
 */
export function checkRecord(reader: RecordReader, offset: number): DecodeFailure | undefined {
  const { u8, u16 } = reader
  if (offset + FLOW_EVENT.SIZE > u8.length) return 'truncated'
  if (u8[offset + FLOW_EVENT.version] !== EVENT_VERSION) return 'unknown_version'
  const type = u8[offset + FLOW_EVENT.type]!
  if (type < EventType.FLOW || type > EventType.HTTP) return 'unknown_type'
  const size = u16[(offset + FLOW_EVENT.size) >> 1]!
  const payload = u16[(offset + FLOW_EVENT.payloadLen) >> 1]!
  if (size !== FLOW_EVENT.SIZE + payload || size > MAX_SIZE) return 'bad_size'
  if (payload !== 0 && type < EventType.DNS) return 'bad_size'
  // Readers take what is not 6 for 4, or the other way round: they would tell different things of the same flow.
  const family = u8[offset + FLOW_EVENT.ipVersion]!
  if (family !== 4 && family !== 6 && family !== 0) return 'bad_ip_version'
  return offset + size > u8.length ? 'truncated' : undefined
}
