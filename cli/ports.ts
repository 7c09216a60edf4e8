import { SluiceError } from '../base/errors.ts'
import { listenError } from './doctor/machine.ts'

/** How many ports above the wanted one are tried. */
const TRIES = 50

/**
 * The wanted port, or the next free one above it.
 *
 * @param taken ports that are promised to others already; the result is added
 * @throws SluiceError SLUICE_API_LISTEN when none of 50 is free
 */
export async function freePort(wanted: number, host: string, taken: Set<number> = new Set()): Promise<number> {
  for (let port = wanted; port < wanted + TRIES; port++) {
    if (taken.has(port) || (await listenError(port, host)) !== undefined) continue
    taken.add(port)
    return port
  }
  throw new SluiceError('SLUICE_API_LISTEN', `No free port from ${wanted} to ${wanted + TRIES - 1} on ${host}`)
}
