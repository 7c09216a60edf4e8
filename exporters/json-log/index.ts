export { LineBuffer } from './bytes.ts'
export {
  DEFAULT_CHUNK_BYTES,
  DEFAULT_FILE_MODE,
  DEFAULT_MAX_BACKUPS,
  DEFAULT_MAX_FILE_BYTES,
  DEFAULT_MAX_HELD_FLOWS,
  DEFAULT_PATH,
  DEFAULT_RETRY_MAX_MS,
  DEFAULT_RETRY_MIN_MS,
  type JsonLogOptions,
  MAX_LINE_BYTES,
  type ResolvedJsonLogOptions,
  resolveJsonLogOptions,
} from './config.ts'
export { type CountLinesOptions, type LineCount, lineBytes } from './count-lines.ts'
export { DEFAULT_EMITTER, type EncoderOptions, FlowEncoder } from './encode.ts'
export { type JsonLogDependencies, JsonLogExporter } from './exporter.ts'
export type { Emitter } from './flow-fragments.ts'
