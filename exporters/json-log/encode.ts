import type { FieldMask } from '../../model/field-mask.ts'
import { type FlowView, fillUuid } from '../../model/flow-view.ts'
import { FLOW_EVENT, FLOW_SLOT, FLOW_STAMP, FlowState } from '../../model/layouts.gen.ts'
import { bytesOf, type LineBuffer, literal, putBytes, putFraction, putLiteral, putUuid } from './bytes.ts'
import { MAX_LINE_BYTES } from './config.ts'
import { type Emitter, FlowFragments } from './flow-fragments.ts'
import { l7Member, traceContextMember } from './fragments.ts'
import { putEthernet, putExtensions, putIpMember, putL4 } from './record-parts.ts'
import { type Wants, wantsOf } from './wants.ts'
import { WordsCache } from './words-cache.ts'

/**
 * Room for what encode() does not add up beforehand: addresses, numbers, times, keys and short names of devices and
 * kernel functions, about 1.5 kB at the most.
 */
const FIXED_BYTES = 4096
/** Where a slot has its wall clock. */
const TIME_OFFSET = FLOW_SLOT.stamp + FLOW_STAMP.unixNs
/** Words of a slot: both references of names, one behind the other, and both of services in one. */
const NAMES = (FLOW_SLOT.stamp + FLOW_STAMP.srcNames) >> 2
const SERVICES = (FLOW_SLOT.stamp + FLOW_STAMP.srcService) >> 2
const NO_BYTES: Uint8Array = new Uint8Array(0)
const NO_LITERAL = literal('')
/** `{` is written over the comma of an object's first member. */
const OPEN = 123
const QUOTE = 34
const CLOSE = 125
const NEWLINE = 10

const FLOW_OPEN = literal('{"flow":')
const TIME = literal(',"time":"')
const UUID = literal(',"uuid":"')

/** Who Sluice says it is, where the agent says nothing else. */
export const DEFAULT_EMITTER: Emitter = { name: 'Sluice', version: '0.1.0' }

export interface EncoderOptions {
  readonly fieldMask?: FieldMask | undefined
  readonly emitter?: Emitter | undefined
}

/**
 * Writes flows as lines of JSON, one Hubble ExportEvent each, byte for byte as protojson within Go's encoder would.
 * Everything about an endpoint, a set of names, a service, a kind of event is a piece of bytes made once; only
 * addresses, numbers and times are written anew. L3/L4 flows allocate nothing once their pieces are made.
 */
export class FlowEncoder {
  readonly #mask: FieldMask | undefined
  readonly #emitter: Emitter
  readonly #wants: Wants
  readonly #uuid = new Uint32Array(4)
  readonly #uuidSigned = new Int32Array(this.#uuid.buffer)
  /** `2026-11-22T07:15:04` of the last second met. */
  #clock = NO_LITERAL
  /** Its beginning in nanoseconds since 1970, as two words. */
  #secondHigh = -1
  #secondLow = 0
  /** Bytes of the time at the head of the line being written. */
  #timeLength = 0
  /** `ethernet` by both MACs: 12 bytes. */
  readonly #links = new WordsCache(1024, 3)
  /** `IP` by both addresses: 32 bytes. 8,192 x (36 + about 170) bytes = 1.7 MB. */
  readonly #addresses = new WordsCache(8192, 8)
  #recordBytes: Uint8Array | undefined
  #recordWords: Int32Array = new Int32Array(0)
  #pieces: FlowFragments | undefined
  #discardedMisses = 0

  constructor(options: EncoderOptions = {}) {
    this.#mask = options.fieldMask
    this.#emitter = options.emitter ?? DEFAULT_EMITTER
    this.#wants = wantsOf(options.fieldMask)
  }

  /** Pieces of lines that had to be made since start. */
  get misses(): number {
    return this.#discardedMisses + (this.#pieces?.misses ?? 0)
  }

  /** Bytes of pieces held. */
  get cachedBytes(): number {
    return this.#pieces?.bytes ?? 0
  }

  /**
   * Writes one line, newline included.
   *
   * @param view on a flow
   * @param out with room for MAX_LINE_BYTES at `at`
   * @returns position after the line, or -1 when it would be longer than MAX_LINE_BYTES: nothing was written then
   */
  encode(view: FlowView, out: LineBuffer, at: number): number {
    const pieces = this.#piecesFor(view)
    const record = view.l7
    const l7 = record === undefined ? NO_BYTES : bytesOf(l7Member(record, this.#mask))
    const traceContext = record === undefined ? NO_BYTES : bytesOf(traceContextMember(record.traceId, this.#mask))
    const isL7 = view.isL7
    const summary = isL7 ? bytesOf(pieces.l7Summary(view)) : pieces.summary(view)
    const source = pieces.source(view.sourceRef)
    const destination = pieces.destinationAndNode(view.destinationRef, isL7)
    const words = this.#wordsOf(view)
    const record32 = view.byteOffset >> 2
    const kind = pieces.kind(view, words, record32)
    let sourceNames = NO_BYTES
    let destinationNames = NO_BYTES
    let sourceService = NO_BYTES
    let destinationService = NO_BYTES
    // Most flows have none of the four: one test for all.
    if ((words[record32 + NAMES]! | words[record32 + NAMES + 1]! | words[record32 + SERVICES]!) !== 0) {
      sourceNames = pieces.sourceNames(view.sourceNamesRef)
      destinationNames = pieces.destinationNames(view.destinationNamesRef)
      sourceService = pieces.sourceService(view.sourceServiceRef)
      destinationService = pieces.destinationService(view.destinationServiceRef)
    }
    const cached =
      source.length +
      destination.length +
      sourceNames.length +
      destinationNames.length +
      sourceService.length +
      destinationService.length +
      pieces.envelope.length +
      summary.length +
      l7.length +
      traceContext.length
    if (cached + FIXED_BYTES > MAX_LINE_BYTES) return -1

    const flowAt = putLiteral(out, at, FLOW_OPEN)
    let to = this.#putHead(view, pieces, out, flowAt)
    to = putBytes(out, to, source)
    to = putBytes(out, to, destination)
    if (sourceNames.length > 0) to = putBytes(out, to, sourceNames)
    if (destinationNames.length > 0) to = putBytes(out, to, destinationNames)
    if (l7.length > 0) to = putBytes(out, to, l7)
    if (sourceService.length + destinationService.length === 0) {
      to = putBytes(out, to, kind.whole)
    } else {
      to = putBytes(out, to, kind.eventType)
      to = putBytes(out, to, sourceService)
      to = putBytes(out, to, destinationService)
      to = putBytes(out, to, kind.direction)
    }
    if (!isL7) to = putBytes(out, to, pieces.interfaceName(view.ifindex))
    if (traceContext.length > 0) to = putBytes(out, to, traceContext)
    to = putBytes(out, to, summary)
    if (this.#wants.extensions) to = putExtensions(view, pieces, out, to)
    if (to === flowAt) to++
    out.bytes[flowAt] = OPEN

    to = putBytes(out, to, pieces.envelope)
    if (this.#wants.time) {
      const from = flowAt + TIME.length
      const length = this.#timeLength
      out.bytes.copyWithin(to, from, from + length)
      to += length
    } else {
      to = this.#putTime(view, out, to)
    }
    out.bytes[to] = QUOTE
    out.bytes[to + 1] = CLOSE
    out.bytes[to + 2] = NEWLINE
    return to + 3
  }

  #piecesFor(view: FlowView): FlowFragments {
    const known = this.#pieces
    if (known?.fits(view.context)) return known
    this.#discardedMisses += known?.misses ?? 0
    this.#pieces = new FlowFragments(view.context, this.#mask, this.#emitter)
    return this.#pieces
  }

  /** `time` to `l4`. */
  #putHead(view: FlowView, pieces: FlowFragments, out: LineBuffer, at: number): number {
    const wants = this.#wants
    let to = at
    if (wants.time) {
      const from = putLiteral(out, to, TIME)
      to = this.#putTime(view, out, from)
      this.#timeLength = to - from
      out.bytes[to++] = QUOTE
    }
    if (wants.uuid) {
      const words = this.#wordsOf(view)
      const low = (view.byteOffset + FLOW_EVENT.timeNs) >> 2
      fillUuid(view.context.uuidSeed, words[low + 1]!, words[low]!, this.#uuid)
      to = putUuid(out, putLiteral(out, to, UUID), this.#uuidSigned)
      out.bytes[to++] = QUOTE
    }
    to = putBytes(out, to, pieces.verdict(view))
    if (view.isDrop) to = putBytes(out, to, pieces.dropReason(view.dropReason))
    if (wants.ethernet && !view.isL7) to = this.#putLink(view, out, to)
    if (wants.ip && view.ipVersion !== 0) to = this.#putAddresses(view, out, to)
    if (wants.l4) to = putL4(view, pieces, wants, out, to)
    return to
  }

  #putLink(view: FlowView, out: LineBuffer, at: number): number {
    const piece = this.#links.find(this.#wordsOf(view), (view.byteOffset + FLOW_EVENT.srcMac) >> 2, 1)
    if (piece !== undefined) return putBytes(out, at, piece)
    const to = putEthernet(view, this.#wants, out, at)
    this.#links.admit(out.bytes, at, to)
    return to
  }

  #putAddresses(view: FlowView, out: LineBuffer, at: number): number {
    const extra = view.ipVersion | (view.state & FlowState.ENCRYPTED)
    const piece = this.#addresses.find(this.#wordsOf(view), (view.byteOffset + FLOW_EVENT.srcIp) >> 2, extra)
    if (piece !== undefined) return putBytes(out, at, piece)
    const to = putIpMember(view, this.#wants, out, at)
    this.#addresses.admit(out.bytes, at, to)
    return to
  }

  /** The view's buffer as words. Signed: an unsigned word above 2^31 is an object on the heap wherever it is handed on. */
  #wordsOf(view: FlowView): Int32Array {
    const bytes = view.bytesArray
    if (bytes !== this.#recordBytes) {
      this.#recordBytes = bytes
      this.#recordWords = new Int32Array(bytes.buffer, bytes.byteOffset, bytes.length >> 2)
    }
    return this.#recordWords
  }

  #putTime(view: FlowView, out: LineBuffer, at: number): number {
    const words = this.#wordsOf(view)
    const low = (view.byteOffset + TIME_OFFSET) >> 2
    const past = ((words[low + 1]! >>> 0) - this.#secondHigh) * 4_294_967_296 + ((words[low]! >>> 0) - this.#secondLow)
    const nanos = past >= 0 && past < 1_000_000_000 ? past | 0 : this.#enterSecond(view)
    const to = putFraction(out, putLiteral(out, at, this.#clock), nanos)
    out.bytes[to] = 90
    return to + 1
  }

  /** @returns nanoseconds past it */
  #enterSecond(view: FlowView): number {
    const low = view.unixNsLow
    const nanos = view.timeNanos
    this.#secondLow = (low - nanos) >>> 0
    this.#secondHigh = low < nanos ? view.unixNsHigh - 1 : view.unixNsHigh
    this.#clock = literal(new Date(view.timeSecs * 1000).toISOString().slice(0, 19))
    return nanos
  }
}
