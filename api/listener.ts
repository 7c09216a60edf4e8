import { chmodSync } from 'node:fs'
import { lstat, mkdir, unlink } from 'node:fs/promises'
import { connect, createServer, type Server, type Socket } from 'node:net'
import { dirname } from 'node:path'
import type { TlsFiles } from '../base/certificate-files.ts'
import { errorText, SluiceError } from '../base/errors.ts'
import { type HostPort, hostPortText, parseListenAddress } from '../base/listen-address.ts'

/** Where the server listens. */
export type ListenSpec =
  | {
      readonly kind: 'unix'
      readonly path: string
      /** Permissions of the socket, 0o660 unless given: who may connect sees all flows. */
      readonly mode?: number | undefined
    }
  | ({ readonly kind: 'tcp'; readonly tls?: TlsFiles | undefined } & HostPort)

const SOCKET_MODE = 0o660

/** As parseListenAddress() of base/. @throws SluiceError SLUICE_CONFIG_INVALID */
export function listenSpec(text: string): ListenSpec {
  const spec = parseListenAddress(text)
  if (spec !== undefined) return spec
  throw new SluiceError(
    'SLUICE_CONFIG_INVALID',
    `Cannot listen on "${text}": want unix:///path, host:port, [ipv6]:port or :port`,
  )
}

/** An open listener that hands out connections. */
export interface Listener {
  /** As clients write it: `unix:///run/sluice.sock`, `127.0.0.1:4245`. */
  readonly address: string
  /** The port, 0 for unix sockets. */
  readonly port: number
  /** Connections refused because there were too many. */
  readonly refused: () => number
  /** Takes no more connections; removes the socket's file. Open connections stay. */
  close(): void
}

export interface ListenOptions {
  readonly maxConnections: number
  readonly onConnection: (socket: Socket) => void
}

/** @throws SluiceError SLUICE_API_LISTEN: address in use, not ours, not permitted */
export async function listen(spec: ListenSpec, options: ListenOptions): Promise<Listener> {
  const server = createServer({ noDelay: true }, options.onConnection)
  server.maxConnections = options.maxConnections
  let refused = 0
  server.on('drop', () => {
    refused++
  })
  if (spec.kind === 'unix') await prepareSocket(spec.path)
  await bind(server, spec)
  const bound = server.address()
  const port = typeof bound === 'object' && bound !== null ? bound.port : 0
  return {
    address: spec.kind === 'unix' ? `unix://${spec.path}` : hostPortText({ host: spec.host, port }),
    port,
    refused: () => refused,
    // libuv unlinks the file of a unix socket that it has bound.
    close: () => server.close(),
  }
}

function bind(server: Server, spec: ListenSpec): Promise<void> {
  return new Promise((resolve, reject) => {
    const fail = (cause: unknown): void => {
      const where = spec.kind === 'unix' ? spec.path : hostPortText(spec)
      reject(new SluiceError('SLUICE_API_LISTEN', `Cannot listen on "${where}": ${errorText(cause)}`, { cause }))
    }
    server.once('error', fail)
    const done = (): void => {
      server.off('error', fail)
      // A failed accept (file descriptors used up) is the connection's trouble, not the server's.
      server.on('error', () => {})
      resolve()
    }
    if (spec.kind === 'tcp') {
      server.listen({ port: spec.port, ...(spec.host === '' ? {} : { host: spec.host }) }, done)
      return
    }
    const mode = spec.mode ?? SOCKET_MODE
    // Bound at once inside listen(): with this mask nobody can connect before the mode is right.
    const umask = process.umask(0o177)
    try {
      server.listen(spec.path, () => {
        try {
          chmodSync(spec.path, mode)
          done()
        } catch (error) {
          server.close()
          fail(error)
        }
      })
    } finally {
      process.umask(umask)
    }
  })
}

/** Makes the folder, and removes the socket of a process that is gone: one that nobody answers at. */
async function prepareSocket(path: string): Promise<void> {
  const fail = (text: string, cause?: unknown): SluiceError =>
    new SluiceError('SLUICE_API_LISTEN', `Cannot listen on "${path}": ${text}`, { cause })
  try {
    await mkdir(dirname(path), { recursive: true, mode: 0o755 })
    const stat = await lstat(path).catch((error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT') return undefined
      throw error
    })
    if (stat === undefined) return
    if (!stat.isSocket()) throw fail('a file that is no socket is in the way')
    if (await isAnswered(path)) throw fail('another process listens there')
    await unlink(path)
  } catch (error) {
    throw SluiceError.is(error) ? error : fail(errorText(error), error)
  }
}

function isAnswered(path: string): Promise<boolean> {
  return new Promise((resolve, reject) => {
    const socket = connect(path)
    socket.once('connect', () => {
      socket.destroy()
      resolve(true)
    })
    socket.once('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'ECONNREFUSED' || error.code === 'ENOENT') resolve(false)
      // A full backlog means that somebody is there.
      else if (error.code === 'EAGAIN') resolve(true)
      else reject(error)
    })
  })
}
