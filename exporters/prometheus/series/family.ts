import type { SeriesBudget } from './budget.ts'
import { KeyTable } from './key-table.ts'
import { LineText } from './line-text.ts'
import { escapeLabel, type FamilyType, type Format, familyHeader, samplePrefix, valueText } from './text.ts'
import { OVERFLOW_TEXT, OVERFLOW_VALUE, type ValueTable } from './value-table.ts'
import { type CountMode, type Sweep, Visibility } from './visibility.ts'

/**
 * What a word of a series' key is: `closed`, a number from a small closed set (kept in overflow series); `open`, any
 * number (a port); `value`, a number of the ValueTable.
 */
export type WordKind = 'closed' | 'open' | 'value'

/** A label, and the word of the key that it is rendered from. Several labels may be packed in one closed word. */
export interface LabelSpec {
  readonly name: string
  readonly word: number
  readonly text: (word: number) => string
}

/** Which words name a pod: a series goes when its pod has been gone for a minute. */
export interface PodWords {
  /** Words that hold `namespace/pod`. */
  readonly qualified: readonly number[]
  /** Words that hold a pod's name alone. */
  readonly bare: readonly number[]
  /** Pairs of words: namespace, pod's name. */
  readonly pairs: readonly (readonly [number, number])[]
}

/** Pods whose series are to go, as numbers of the ValueTable. */
export interface GonePods {
  readonly qualified: ReadonlySet<number>
  readonly bare: ReadonlySet<number>
  /** `namespace number`:`name number` */
  readonly pairs: ReadonlySet<string>
}

export interface FamilySpec {
  readonly name: string
  readonly help: string
  readonly words: readonly WordKind[]
  /** In the order they are written. */
  readonly labels: readonly LabelSpec[]
  readonly pods: PodWords
  readonly maxSeries: number
}

/** What families share. */
export interface FamilyShared {
  readonly values: ValueTable
  readonly budget: SeriesBudget
  /** Called when a series was made, rarely: at most once per new label set. */
  readonly onSeries: (family: Family, slot: number) => void
  /** Frees hidden series of any family until the budget has room for `count`. @returns false when there are too few */
  readonly makeRoom: (count: number) => boolean
}

/** In a raw word of an overflow series' key. */
const OVERFLOW_WORD = 0xffff_ffff

/** Series in overflow that keep their closed labels; beyond these there is one that keeps none. */
const OVERFLOW_SERIES_MAX = 64

/**
 * Series of one name. The caller puts the words of the label set in `key` and asks for the slot: no text is touched
 * unless the series is new. When there is no room for a new one, `overflow` stands in for everything open, so that
 * sums over closed labels (verdict, protocol, reason) stay exact.
 */
export abstract class Family {
  readonly name: string
  readonly help: string
  readonly type: FamilyType
  readonly labelNames: readonly string[]
  /** Scratch: the caller fills all words before it counts. */
  readonly key: Uint32Array
  /** Counts that went to a series of overflow. */
  overflowed = 0
  /** Nothing of it is shown. */
  isOff = false
  /** No series is in question or hidden: what the hot path asks in place of each series' state. */
  #isCalm = true
  protected values: Float64Array
  protected readonly fields: number
  readonly #spec: FamilySpec
  readonly #shared: FamilyShared
  readonly #table: KeyTable
  #isOverflow: boolean[] = []
  readonly #visibility: Visibility
  #evictAt = 0
  #overflowSeries = 0
  readonly #overflowKey: Uint32Array
  readonly #texts = new Map<string, LineText>()

  constructor(type: FamilyType, fields: number, spec: FamilySpec, shared: FamilyShared) {
    this.name = spec.name
    this.help = spec.help
    this.type = type
    this.labelNames = spec.labels.map((label) => label.name)
    this.fields = fields
    this.#spec = spec
    this.#shared = shared
    // A family without labels has one series; its key is one word that stays 0.
    const words = Math.max(1, spec.words.length)
    this.key = new Uint32Array(words)
    this.#overflowKey = new Uint32Array(words)
    this.#table = new KeyTable(words, (Math.random() * 0x1_0000_0000) >>> 0)
    this.values = new Float64Array(this.#table.capacity * fields)
    this.#visibility = new Visibility(this.#table.capacity)
  }

  /** Label sets held; a histogram's is many time series, see `series`. */
  get size(): number {
    return this.#table.size
  }

  /** Label sets that a scrape shows. */
  get shown(): number {
    return this.isOff ? 0 : this.#table.size - this.#visibility.hidden
  }

  /** Label sets held that no scrape shows, because no filter in force wants them. */
  get hidden(): number {
    return this.#visibility.hidden
  }

  /** Time series as Prometheus counts them. */
  get series(): number {
    return this.#table.size * this.fields
  }

  /** What counting does from now on. */
  set mode(mode: CountMode) {
    this.#visibility.setMode(mode)
    this.#isCalm = this.#visibility.isCalm
  }

  /** Slot of the label set in `key`, made when it is new. @returns -1 when there is nothing to add to */
  protected slot(): number {
    const slot = this.#table.find(this.key)
    return slot >= 0 && (this.#isCalm || this.#visibility.isPlain(slot)) ? slot : this.#otherSlot(slot)
  }

  /**
   * Puts every series in question: counting, or confirming, shows it again; a sweep hides the others. Until then they are
   * shown as before. Series of overflow are never hidden: they stand for what is wanted, too.
   */
  question(): void {
    this.#visibility.question(this.#table.size)
    this.#isCalm = this.#visibility.isCalm
  }

  /**
   * Goes over a part of the series: `hide` hides those in question, `show` shows all, `age` removes those that were
   * hidden at the last such sweep.
   *
   * @param from slot to begin at @param count slots to look at @returns where to go on, -1 at the end
   */
  sweep(what: Sweep, from: number, count: number): number {
    const end = Math.min(from + count, this.#table.highWater)
    for (let slot = from; slot < end; slot++) {
      if (!this.#table.isLive(slot)) continue
      if (what === 'show' || this.#isOverflow[slot]) this.#show(slot)
      else if (what === 'age') {
        if (this.#visibility.age(slot)) this.remove(slot)
      } else if (this.#visibility.hide(slot)) this.#mark(slot)
    }
    this.#isCalm = this.#visibility.isCalm
    return end < this.#table.highWater ? end : -1
  }

  /** Removes a hidden series to make room. @returns false when there is none */
  evict(): boolean {
    if (this.hidden === 0) return false
    // There is one, and it is no overflow: the search ends within a round.
    for (;;) {
      const slot = this.#evictAt < this.#table.highWater ? this.#evictAt : 0
      this.#evictAt = slot + 1
      if (!this.#table.isLive(slot) || !this.#visibility.isHidden(slot)) continue
      this.remove(slot)
      return true
    }
  }

  /** Gives back the room of all series, when the family is given up. */
  discard(): void {
    this.#shared.budget.give((this.#table.size - this.#overflowSeries) * this.fields)
  }

  /** Name of a line without labels, and the labels it adds: `_bucket` and `le` of histograms. */
  protected abstract line(field: number, format: Format): { suffix: string; label: string }

  /** Text behind a line's value, or undefined when unchanged; only asked for OpenMetrics. */
  protected takeSuffixes(_emit: (line: number, suffix: string) => void): void {}

  /** Told when a slot's series is gone, to clear what is kept beside the values. */
  protected forget(_slot: number): void {}

  /** Whether sample lines differ between the formats. */
  protected get hasOwnOpenMetricsLines(): boolean {
    return false
  }

  header(format: Format): string {
    return familyHeader(this.name, this.help, this.type, format)
  }

  /** Copies all values, so that one scrape shows one moment. @returns the copy, in `into` where that has room */
  snapshot(into: Float64Array): Float64Array {
    const length = this.#table.highWater * this.fields
    const out = into.length >= length ? into : new Float64Array(Math.ceil(length * 1.25))
    out.set(this.values.subarray(0, length))
    return out
  }

  /** The family's lines in a format; made when it is first asked for. */
  text(format: Format): LineText {
    const key = this.hasOwnOpenMetricsLines ? format : 'text'
    const known = this.#texts.get(key)
    if (known !== undefined) return known
    const made = new LineText(this.fields)
    for (let slot = 0; slot < this.#table.highWater; slot++) if (this.#table.isLive(slot)) made.mark(slot)
    this.#texts.set(key, made)
    return made
  }

  /**
   * Brings a series' lines in line with what it is now. A series that changed again since the mark was taken is left
   * out this time: the scrape's values may be those of the one before it.
   */
  applyMark(slot: number, text: LineText, format: Format): void {
    const first = slot * this.fields
    for (let field = 0; field < this.fields; field++) text.remove(first + field)
    if (!this.#table.isLive(slot) || this.#visibility.isHidden(slot) || text.isMarked(slot)) return
    const labels = this.#labelText(slot)
    for (let field = 0; field < this.fields; field++) text.insert(first + field, this.#prefix(labels, field, format))
  }

  #prefix(labels: string, field: number, format: Format): string {
    const { suffix, label } = this.line(field, format)
    const all = labels === '' ? label : label === '' ? labels : `${labels},${label}`
    return samplePrefix(this.name + suffix, all)
  }

  /** Slots that series may be in: 0 to this, exclusive. */
  get slots(): number {
    return this.#table.highWater
  }

  /** Bytes in the classic format of the lines of the series in `count` slots from one on. */
  textBytes(from: number, count: number): number {
    const end = Math.min(from + count, this.#table.highWater)
    let bytes = 0
    for (let slot = from; slot < end; slot++) {
      if (!this.#table.isLive(slot) || this.#visibility.isHidden(slot)) continue
      const labels = this.#labelText(slot)
      for (let field = 0; field < this.fields; field++) {
        const value = valueText(this.values[slot * this.fields + field]!)
        bytes += Buffer.byteLength(this.#prefix(labels, field, 'text')) + value.length + 1
      }
    }
    return bytes
  }

  /** Suffixes that changed since the last scrape in OpenMetrics. */
  applySuffixes(text: LineText): void {
    this.takeSuffixes((line, suffix) => text.setSuffix(line, suffix))
  }

  /** Marks the numbers of the ValueTable that live series use. */
  markValues(use: (id: number) => void): void {
    const { words } = this.#spec
    for (let slot = 0; slot < this.#table.highWater; slot++) {
      if (!this.#table.isLive(slot)) continue
      for (let word = 0; word < words.length; word++) {
        if (words[word] === 'value') use(this.#table.word(slot, word))
      }
    }
  }

  /** Removes the series of pods that are gone. @returns how many label sets went */
  removePods(gone: GonePods): number {
    const { qualified, bare, pairs } = this.#spec.pods
    if (qualified.length + bare.length + pairs.length === 0) return 0
    let removed = 0
    for (let slot = 0; slot < this.#table.highWater; slot++) {
      if (!this.#table.isLive(slot)) continue
      const word = (index: number) => this.#table.word(slot, index)
      if (
        qualified.some((index) => gone.qualified.has(word(index))) ||
        bare.some((index) => gone.bare.has(word(index))) ||
        pairs.some(([namespace, pod]) => gone.pairs.has(`${word(namespace)}:${word(pod)}`))
      ) {
        this.remove(slot)
        removed++
      }
    }
    return removed
  }

  /** Which pods a series names: `namespace/pod`, or a bare name. Called for each that it names. */
  podsOf(slot: number, found: (pod: string) => void): void {
    const { qualified, bare, pairs } = this.#spec.pods
    const text = (index: number) => this.#shared.values.text(this.#table.word(slot, index))
    for (const index of qualified) found(text(index))
    for (const index of bare) found(text(index))
    for (const [namespace, pod] of pairs) found(`${text(namespace)}/${text(pod)}`)
  }

  /** Removes every series; their room is free again. */
  clear(): void {
    for (let slot = 0; slot < this.#table.highWater; slot++) if (this.#table.isLive(slot)) this.remove(slot)
  }

  protected remove(slot: number): void {
    this.#visibility.remove(slot)
    this.#isCalm = this.#visibility.isCalm
    this.#table.remove(slot)
    this.values.fill(0, slot * this.fields, (slot + 1) * this.fields)
    this.forget(slot)
    if (this.#isOverflow[slot]) this.#overflowSeries--
    else this.#shared.budget.give(this.fields)
    this.#isOverflow[slot] = false
    this.#mark(slot)
  }

  #otherSlot(slot: number): number {
    const { mode } = this.#visibility
    if (slot < 0) return mode === 'confirm' ? -1 : this.#create()
    if (mode !== 'late') this.#show(slot)
    return mode === 'confirm' ? -1 : slot
  }

  #show(slot: number): void {
    if (this.#visibility.show(slot)) this.#mark(slot)
    this.#isCalm = this.#visibility.isCalm
  }

  #mark(slot: number): void {
    for (const text of this.#texts.values()) text.mark(slot)
  }

  #create(): number {
    if (this.#takeRoom()) return this.#insert(this.key, false)
    this.overflowed++
    const slot = this.#overflowSlot()
    this.#show(slot)
    return slot
  }

  /** Takes room for one series; hidden ones give way. */
  #takeRoom(): boolean {
    const { budget, makeRoom } = this.#shared
    const isFull = (this.#table.size - this.#overflowSeries + 1) * this.fields > this.#spec.maxSeries
    if (isFull && !this.evict()) return false
    return budget.take(this.fields) || (makeRoom(this.fields) && budget.take(this.fields))
  }

  #overflowSlot(): number {
    const key = this.#overflowKey
    this.#fillOverflowKey(key, true)
    const kept = this.#table.find(key)
    if (kept >= 0) return kept
    if (this.#overflowSeries < OVERFLOW_SERIES_MAX) return this.#insert(key, true)
    this.#fillOverflowKey(key, false)
    const last = this.#table.find(key)
    return last >= 0 ? last : this.#insert(key, true)
  }

  #fillOverflowKey(key: Uint32Array, keepClosed: boolean): void {
    const { words } = this.#spec
    for (let word = 0; word < words.length; word++) {
      const kind = words[word]
      key[word] = kind === 'value' ? OVERFLOW_VALUE : kind === 'closed' && keepClosed ? this.key[word]! : OVERFLOW_WORD
    }
  }

  #insert(key: Uint32Array, isOverflow: boolean): number {
    const slot = this.#table.insert(key)
    const length = this.#table.capacity * this.fields
    if (this.values.length < length) {
      const values = new Float64Array(length)
      values.set(this.values)
      this.values = values
    }
    this.#visibility.grow(this.#table.capacity)
    this.#visibility.add(slot)
    this.#isCalm = this.#visibility.isCalm
    this.#isOverflow[slot] = isOverflow
    if (isOverflow) this.#overflowSeries++
    this.#mark(slot)
    this.#shared.onSeries(this, slot)
    return slot
  }

  /**
   * Made when a scrape first shows the series, not when a flow makes it: a burst of new series costs the hot path a
   * place in the table each. The numbers in the key keep their texts while the series lives.
   */
  #labelText(slot: number): string {
    const { labels, words } = this.#spec
    let text = ''
    for (const { name, word: index, text: textOf } of labels) {
      const word = this.#table.word(slot, index)
      const isValue = words[index] === 'value'
      const value = isValue ? this.#shared.values.text(word) : word === OVERFLOW_WORD ? OVERFLOW_TEXT : textOf(word)
      text += `${text === '' ? '' : ','}${name}="${escapeLabel(value)}"`
    }
    return text
  }
}
