import type { Flow } from '../../api/gen/flow/flow.ts'
import type { Paint } from '../paint.ts'
import { flowNumbers } from './flow-extensions.ts'

/** What a flow counted since its previous record, empty when the server did not say: `[3 pkt 210 B < 2 pkt 140 B rtt 0.2ms]`. */
export function extensionsText(flow: Flow, paint: Paint): string {
  const more = flowNumbers(flow)
  if (!more) return ''
  const parts: string[] = []
  if (more.packets > 0 || more.bytes > 0) parts.push(`${more.packets} pkt ${bytesText(more.bytes)}`)
  if (more.reply_packets > 0) parts.push(`< ${more.reply_packets} pkt ${bytesText(more.reply_bytes)}`)
  if (more.rtt_us > 0) parts.push(`rtt ${microsText(more.rtt_us)}`)
  if (more.srtt_us > 0) parts.push(`srtt ${microsText(more.srtt_us)}`)
  if (more.retransmits > 0) parts.push(paint.yellow(`${more.retransmits} retransmitted`))
  if (more.drops > 0) parts.push(paint.red(`${more.drops} dropped`))
  if (more.kernel_drop_reason !== '') {
    parts.push(paint.red(`${more.kernel_drop_reason}${more.drop_location === '' ? '' : ` at ${more.drop_location}`}`))
  }
  return parts.length === 0 ? '' : `[${parts.join(' ')}]`
}

/** `210 B`, `1.5 kB`, `3.2 MB` */
export function bytesText(bytes: number): string {
  if (bytes < 1000) return `${bytes} B`
  if (bytes < 1e6) return `${(bytes / 1e3).toFixed(1)} kB`
  return bytes < 1e9 ? `${(bytes / 1e6).toFixed(1)} MB` : `${(bytes / 1e9).toFixed(1)} GB`
}

/** `85µs`, `1.2ms`, `3.4s` */
export function microsText(micros: number): string {
  if (micros < 1000) return `${micros}µs`
  return micros < 1e6 ? `${(micros / 1e3).toFixed(1)}ms` : `${(micros / 1e6).toFixed(1)}s`
}
