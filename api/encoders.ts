import type { FlowContext } from '../model/flow-view.ts'
import { type MaskTree, maskKey } from './field-mask.ts'
import { FlowEncoder } from './flow-encoder.ts'

/** Encoders kept for masks that may come again; a cluster sees a handful. Beyond that the least used one goes. */
const MAX_ENCODERS = 16
/** Endpoints cached for a mask that a client chose; the whole flow gets the encoder's own, larger default. */
const MASKED_SLOTS = 1024

/** Flow encoders by mask, shared by all streams: their caches hold the bytes of endpoints once. */
export class FlowEncoders {
  readonly #context: FlowContext
  readonly #version: string
  readonly #encoders = new Map<string, FlowEncoder>()

  constructor(context: FlowContext, version: string) {
    this.#context = context
    this.#version = version
  }

  /** @param mask undefined: every field */
  get(mask: MaskTree | undefined, withExtensions: boolean): FlowEncoder {
    const key = `${withExtensions ? 'extended' : 'plain'}:${mask === undefined ? 'all' : maskKey(mask)}`
    let encoder = this.#encoders.get(key)
    if (encoder === undefined) {
      const slots = mask === undefined ? {} : { slots: MASKED_SLOTS }
      encoder = new FlowEncoder(this.#context, { version: this.#version, mask, withExtensions, ...slots })
    } else this.#encoders.delete(key)
    // Maps keep the order of insertion: the first key is the one not used for longest.
    this.#encoders.set(key, encoder)
    if (this.#encoders.size > MAX_ENCODERS) this.#encoders.delete(this.#encoders.keys().next().value!)
    return encoder
  }
}
