import { SluiceError } from '../base/errors.ts'

/** Exit codes of every command; docs/cli.md and --help are written from this table. */
export const EXIT_CODES = {
  OK: { code: 0, meaning: 'done; also when it was told to stop (Ctrl-C, SIGTERM)' },
  FAILED: {
    code: 1,
    meaning: 'failed: no server there, kernel refuses, doctor found something missing, filters test refuses a file',
  },
  USAGE: { code: 2, meaning: 'wrong usage: flag, value, configuration or lab file' },
  NOT_CLOSED: { code: 3, meaning: 'sluice ledger: the counts do not add up' },
} as const

export const EXIT_OK = EXIT_CODES.OK.code
export const EXIT_FAILED = EXIT_CODES.FAILED.code
export const EXIT_USAGE = EXIT_CODES.USAGE.code
export const EXIT_NOT_CLOSED = EXIT_CODES.NOT_CLOSED.code

const USAGE_ERRORS: ReadonlySet<string> = new Set([
  'SLUICE_USAGE',
  'SLUICE_CONFIG_INVALID',
  'SLUICE_LAB_INVALID',
  'SLUICE_FILTER_INVALID',
])

/** The exit code for an error that ends a command. */
export function exitCodeOf(error: unknown): number {
  return SluiceError.is(error) && USAGE_ERRORS.has(error.code) ? EXIT_USAGE : EXIT_FAILED
}

/** The lines of --help that name the exit codes. */
export function exitCodeHelp(): string {
  const rows = Object.values(EXIT_CODES).map(({ code, meaning }) => `  ${code}  ${meaning}`)
  return ['Exit codes:', ...rows].join('\n')
}
