import type { Io } from '../io.ts'

/** What every command gets. A command's action sets `exitCode` when it ends otherwise than well. */
export interface CommandContext {
  readonly io: Io
  exitCode: number
}
