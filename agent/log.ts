import { styleText } from 'node:util'
import { type Logger as PinoLogger, pino } from 'pino'
import type { Logger } from '../base/logger.ts'

/** Own log by pino, on standard error: JSON lines, or text for people. */
export function makeLogger(options: {
  level: string
  format: 'json' | 'text'
  stream?: NodeJS.WritableStream
}): Logger {
  const stream = options.stream ?? process.stderr
  const settings = {
    level: options.level,
    base: null,
    timestamp: pino.stdTimeFunctions.isoTime,
    formatters: { level: levelName },
  }
  const sink =
    options.format === 'json'
      ? stream
      : { write: (line: string) => void stream.write(asText(line, isTerminal(stream))) }
  return wrap(pino(settings, sink))
}

function levelName(label: string): { level: string } {
  return { level: label }
}

function isTerminal(stream: NodeJS.WritableStream): boolean {
  return 'isTTY' in stream && stream.isTTY === true && process.env['NO_COLOR'] === undefined
}

/** The same calls, with pino's child loggers behind our narrower type. */
function wrap(log: PinoLogger): Logger {
  return {
    debug: (fields, message) => log.debug(fields, message),
    info: (fields, message) => log.info(fields, message),
    warn: (fields, message) => log.warn(fields, message),
    error: (fields, message) => log.error(fields, message),
    child: (fields) => wrap(log.child(fields)),
  }
}

/** `10:20:30.123 WARN  message  key=value`, from one of pino's lines. */
function asText(line: string, colour: boolean): string {
  const { level, time, msg, ...fields } = JSON.parse(line) as Record<string, unknown>
  const rest = Object.entries(fields).map(
    ([key, value]) => `${key}=${typeof value === 'string' ? value : JSON.stringify(value)}`,
  )
  const name = String(level).toUpperCase().padEnd(5)
  const shown = colour
    ? styleText(name.startsWith('ERR') ? 'red' : name.startsWith('WARN') ? 'yellow' : 'dim', name)
    : name
  return `${String(time).slice(11, 23)} ${shown} ${String(msg)}${rest.length > 0 ? `  ${rest.join(' ')}` : ''}\n`
}
