import { SluiceError } from '../../../base/errors.ts'

/** Where to listen. Without a host: every address, IPv4 and IPv6. */
export interface ListenAddress {
  readonly host: string | undefined
  readonly port: number
}

/**
 * Reads `:9965`, `127.0.0.1:9965` or `[::1]:9965`. Port 0 asks for any free one.
 *
 * @throws SluiceError SLUICE_CONFIG_INVALID
 */
export function parseListenAddress(text: string, key: string): ListenAddress {
  const match = /^(?:\[([0-9A-Fa-f:.%]+)\]|([^:[\]]*)):(\d{1,5})$/.exec(text)
  const port = Number(match?.[3])
  if (match === null || port > 65535) {
    throw new SluiceError(
      'SLUICE_CONFIG_INVALID',
      `Cannot listen on ${key} "${text}": want ":port", "address:port" or "[ipv6]:port" with a port up to 65535`,
    )
  }
  const host = match[1] ?? match[2] ?? ''
  return { host: host === '' ? undefined : host, port }
}

/** The address as a URL needs it. */
export function hostPort(host: string, port: number): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`
}
