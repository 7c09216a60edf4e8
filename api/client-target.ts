import { isIP } from 'node:net'
import { type ChannelCredentials, type ChannelOptions, credentials, Metadata } from '@grpc/grpc-js'
import { readPem } from '../base/certificate-files.ts'
import { SluiceError } from '../base/errors.ts'

/** How a client reaches a server: the connection flags of the hubble command line. */
export interface ClientOptions {
  /** `host:port`, `tls://host:port`, `unix:///path` */
  readonly server: string
  /** TLS also without `tls://`. */
  readonly tls?: boolean | undefined
  /** Takes any certificate. */
  readonly tlsAllowInsecure?: boolean | undefined
  /** PEM files of the CAs to trust; the system's unless given. */
  readonly tlsCaCertFiles?: readonly string[] | undefined
  /** Both or neither: the client's own certificate. */
  readonly tlsClientCertFile?: string | undefined
  readonly tlsClientKeyFile?: string | undefined
  /** Name that the server's certificate must have; the host of `server` unless given. */
  readonly tlsServerName?: string | undefined
  /** Needs TLS. */
  readonly basicAuth?: { readonly username: string; readonly password: string } | undefined
  /** How long to wait for a connection, milliseconds; 5,000 unless given. */
  readonly connectTimeoutMs?: number | undefined
  /** How long a unary call may take, milliseconds; 12,000 unless given. */
  readonly requestTimeoutMs?: number | undefined
  /** Ask for Flow.extensions (see flowExtensions()); servers other than Sluice ignore that. Yes unless given. */
  readonly withExtensions?: boolean | undefined
}

/** What grpc-js needs for a connection. */
export interface ClientTarget {
  readonly target: string
  readonly credentials: ChannelCredentials
  readonly channelOptions: ChannelOptions
  /** Goes with every call. */
  readonly metadata: Metadata
  readonly isTls: boolean
}

/** @throws SluiceError SLUICE_USAGE for an address or a mix of flags that cannot be, SLUICE_TLS_FILE */
export async function clientTarget(options: ClientOptions): Promise<ClientTarget> {
  const { server, tlsServerName } = options
  const isTls = server.startsWith('tls://') || options.tls === true
  const target = parseServer(server)
  const metadata = new Metadata()
  if (options.withExtensions !== false) metadata.set('sluice-extensions', '1')
  if (options.basicAuth !== undefined) {
    if (!isTls) throw new SluiceError('SLUICE_USAGE', 'Cannot send a password without TLS: add --tls or use tls://')
    const { username, password } = options.basicAuth
    metadata.set('authorization', `Basic ${Buffer.from(`${username}:${password}`).toString('base64')}`)
  }
  return {
    target,
    credentials: isTls ? await tlsCredentials(options) : plainCredentials(options),
    channelOptions: {
      'grpc.max_receive_message_length': 16 * 1024 * 1024,
      // The proxies that a shell's environment names are for the web; an agent is reached directly.
      'grpc.enable_http_proxy': 0,
      ...(tlsServerName === undefined
        ? {}
        : { 'grpc.ssl_target_name_override': tlsServerName, 'grpc.default_authority': tlsServerName }),
    },
    metadata,
    isTls,
  }
}

function parseServer(server: string): string {
  if (server.startsWith('unix:')) {
    const path = server.startsWith('unix://') ? server.slice(7) : server.slice(5)
    if (path !== '') return `unix:${path}`
  } else {
    const host = server.startsWith('tls://') ? server.slice(6) : server
    const match = /^(\[[0-9a-fA-F:.%a-z]+\]|[^:[\]/\s]+):(\d{1,5})$/.exec(host)
    if (match && Number(match[2]) <= 65535) return `dns:${host}`
  }
  throw new SluiceError(
    'SLUICE_USAGE',
    `Cannot use "${server}" as a server: want host:port, tls://host:port or unix:///path`,
  )
}

function plainCredentials(options: ClientOptions): ChannelCredentials {
  const { tlsAllowInsecure, tlsCaCertFiles, tlsClientCertFile, tlsClientKeyFile, tlsServerName } = options
  const isAny = tlsAllowInsecure || tlsCaCertFiles?.length || tlsClientCertFile || tlsClientKeyFile || tlsServerName
  if (isAny) throw new SluiceError('SLUICE_USAGE', 'TLS settings are given, but TLS is not on: add --tls or use tls://')
  return credentials.createInsecure()
}

async function tlsCredentials(options: ClientOptions): Promise<ChannelCredentials> {
  const { tlsCaCertFiles, tlsClientCertFile, tlsClientKeyFile, tlsAllowInsecure } = options
  if ((tlsClientCertFile === undefined) !== (tlsClientKeyFile === undefined)) {
    const missing = tlsClientCertFile === undefined ? 'certificate' : 'key'
    throw new SluiceError(
      'SLUICE_USAGE',
      `A client certificate needs its key and the other way round: the ${missing} file is missing`,
    )
  }
  const cas = await Promise.all((tlsCaCertFiles ?? []).map((file) => readPem('CA', file)))
  const cert = tlsClientCertFile === undefined ? null : await readPem('client certificate', tlsClientCertFile)
  const key = tlsClientKeyFile === undefined ? null : await readPem('client key', tlsClientKeyFile)
  try {
    const made = credentials.createSsl(cas.length === 0 ? null : Buffer.concat(cas), key, cert, {
      rejectUnauthorized: tlsAllowInsecure !== true,
      ...(tlsAllowInsecure ? { checkServerIdentity: () => undefined } : {}),
    })
    return options.tlsServerName === undefined ? withoutIpServerName(made, options.server) : made
  } catch (cause) {
    throw new SluiceError('SLUICE_TLS_FILE', `Cannot use the TLS files: ${(cause as Error).message}`, { cause })
  }
}

/**
 * TLS has no server names that are addresses (RFC 6066, section 3). grpc-js sends one all the same, and Node warns of
 * it on every start: it is taken out of the options that grpc-js makes for a connection. Where a later grpc-js keeps
 * them elsewhere, only the warning is back.
 */
function withoutIpServerName(made: ChannelCredentials, server: string): ChannelCredentials {
  const host = server
    .replace('tls://', '')
    .replace(/:\d+$/, '')
    .replace(/^\[|\]$/g, '')
  if (isIP(host) === 0) return made
  const inner = made as unknown as { _createSecureConnector?: (...args: unknown[]) => unknown }
  const original = inner._createSecureConnector?.bind(made)
  if (original === undefined) return made
  inner._createSecureConnector = (...args) => {
    const connector = original(...args) as { connectionOptions?: { servername?: string } }
    if (connector.connectionOptions !== undefined) connector.connectionOptions.servername = ''
    return connector
  }
  return made
}
