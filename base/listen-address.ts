import { isIP } from 'node:net'

/** Where a server listens by TCP. */
export interface HostPort {
  /** Address or name; empty: every address of the machine, IPv4 and IPv6. */
  readonly host: string
  /** 0: any free one. */
  readonly port: number
}

/** Where a server listens. */
export type ListenAddress = { readonly kind: 'unix'; readonly path: string } | ({ readonly kind: 'tcp' } & HostPort)

/** What parseHostPort() wants, for messages. */
export const WANT_HOST_PORT = 'want host:port, for example ":9965", "127.0.0.1:9965" or "[::1]:9965"'

/**
 * Host and port of `:9965`, `127.0.0.1:9965`, `[::1]:9965`, `[fe80::1%eth0]:9965`, `localhost:9965`.
 *
 * @returns undefined for anything else, also for an address with a mistake in it: `1.2.3:80`
 */
export function parseHostPort(text: string): HostPort | undefined {
  const match = /^(?:\[([0-9a-fA-F:.]+(?:%[0-9a-zA-Z.-]+)?)\]|([^:[\]/\s]*)):(\d{1,5})$/.exec(text)
  if (!match || Number(match[3]) > 65535) return undefined
  const host = match[1] ?? match[2] ?? ''
  if (match[1] !== undefined ? isIP(host) !== 6 : !isHost(host)) return undefined
  return { host, port: Number(match[3]) }
}

function isHost(text: string): boolean {
  if (text === '' || isIP(text) !== 0) return true
  // A name of digits and dots is a mistyped address.
  return /^[a-zA-Z0-9]([a-zA-Z0-9._-]*[a-zA-Z0-9])?$/.test(text) && !/^[0-9.]+$/.test(text)
}

/** The text that parseHostPort() reads. */
export function hostPortText({ host, port }: HostPort): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`
}

/** As parseHostPort(), and `unix:///run/sluice.sock` or `unix:relative.sock`. @returns undefined for anything else */
export function parseListenAddress(text: string): ListenAddress | undefined {
  if (text.startsWith('unix:')) {
    const path = text.startsWith('unix://') ? text.slice(7) : text.slice(5)
    return path === '' || path.includes('\0') ? undefined : { kind: 'unix', path }
  }
  const address = parseHostPort(text)
  return address && { kind: 'tcp', ...address }
}
