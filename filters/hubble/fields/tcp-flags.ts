import { listField } from '../field.ts'
import type { TcpFlagsMessage } from '../message.ts'

const BITS: Readonly<Record<keyof TcpFlagsMessage, number>> = {
  FIN: 1,
  SYN: 2,
  RST: 4,
  PSH: 8,
  ACK: 16,
  URG: 32,
  ECE: 64,
  CWR: 128,
  NS: 256,
}

/** All flags of one entry must be set; other flags may be set too. */
export const tcpFlags = listField('tcp_flags', (values) => ({
  op: 'tcp-flags',
  masks: values.map((entry) => {
    let mask = 0
    for (const [name, bit] of Object.entries(BITS)) if (entry[name as keyof TcpFlagsMessage]) mask |= bit
    return mask
  }),
}))
