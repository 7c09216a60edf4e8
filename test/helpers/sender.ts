/**
 * A process that sends datagrams at a steady rate until its standard input ends, and says then how many it sent:
 * `node --import tsx sender.ts '{"to":"10.0.0.1","port":7000,"perSecond":500,"bytes":100,"sockets":1}'`.
 */
import { createSocket, type Socket } from 'node:dgram'
import { isIPv6 } from 'node:net'

/** What is sent. */
export interface SenderConfig {
  readonly to: string
  readonly port: number
  readonly perSecond: number
  /** Of the payload. */
  readonly bytes: number
  /** Source ports that take turns: as many flows. */
  readonly sockets: number
  /** Ends by itself after so many; 0 = goes on. */
  readonly count?: number
}

const TURN_MS = 10

const config = JSON.parse(process.argv[2]!) as SenderConfig
const sockets: Socket[] = await Promise.all(Array.from({ length: config.sockets }, bound))
const payload = Buffer.alloc(config.bytes, 0x73)
const started = performance.now()
let sent = 0
let failed = 0
let isOver = false

process.stdin.resume().once('end', end)
process.once('SIGTERM', end)
process.stdout.write('sending\n')
const timer = setInterval(turn, TURN_MS)

function turn(): void {
  const due = Math.floor(((performance.now() - started) / 1000) * config.perSecond)
  const goal = config.count ? Math.min(due, config.count) : due
  while (sent + failed < goal) send()
  if (config.count && sent + failed >= config.count) end()
}

/** Counted when the kernel has taken it. */
function send(): void {
  const socket = sockets[(sent + failed) % sockets.length]!
  sent++
  socket.send(payload, config.port, config.to, (error) => {
    if (!error) return
    sent--
    failed++
  })
}

function bound(): Promise<Socket> {
  return new Promise((resolve) => {
    const socket = createSocket(isIPv6(config.to) ? 'udp6' : 'udp4')
    // Port unreachable, for one; the datagram has left nevertheless.
    socket.on('error', () => {})
    socket.bind(0, () => resolve(socket))
  })
}

function end(): void {
  if (isOver) return
  isOver = true
  clearInterval(timer)
  // Callbacks of the last datagrams come within this turn of the event loop.
  setTimeout(() => {
    process.stdout.write(`${JSON.stringify({ sent, failed })}\n`)
    process.exit(0)
  }, 50)
}
