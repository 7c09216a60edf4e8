import { withCommas } from '../table.ts'

/** `1,234`; a rate below 10 keeps its first digits: `3.4`, `0.02`. */
export function rateText(perMinute: number): string {
  if (perMinute === 0) return '0'
  if (perMinute < 0.01) return '<0.01'
  if (perMinute < 0.1) return perMinute.toFixed(2)
  return perMinute < 10 ? String(Number(perMinute.toFixed(1))) : withCommas(Math.round(perMinute))
}

const UNITS = ['B', 'kB', 'MB', 'GB', 'TB', 'PB'] as const

/** `12.3 GB`, in powers of 1,000 as logs are billed. */
export function bytesText(bytes: number): string {
  let value = bytes
  let unit = 0
  while (value >= 999.5 && unit < UNITS.length - 1) {
    value /= 1000
    unit++
  }
  if (unit === 0) return `${Math.round(value)} B`
  return `${value >= 100 ? value.toFixed(0) : value >= 10 ? value.toFixed(1) : value.toFixed(2)} ${UNITS[unit]}`
}

/** How much less the new value is than the old one: `-87%`, `+5%`, `=`. */
export function changeText(before: number, after: number): string {
  if (before === after) return '='
  if (before === 0) return 'new'
  const percent = (100 * (after - before)) / before
  // A change that rounds to nothing, or to everything, is neither.
  const shown =
    Math.abs(percent) < 0.5 ? Math.sign(percent) : percent < 0 && after > 0 ? Math.max(-99, percent) : percent
  return `${shown > 0 ? '+' : ''}${withCommas(Math.round(shown))}%`
}
