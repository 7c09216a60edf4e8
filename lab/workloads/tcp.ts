import { connect, createServer, type Socket } from 'node:net'
import type { WorkContext } from './names.ts'
import type { RunOf } from './roles.ts'

/** Reads and forgets. */
export function runTcpSink(run: RunOf<'tcp-sink'>, { report }: WorkContext): void {
  const server = createServer((socket) => {
    socket.on('error', () => socket.destroy())
    socket.resume()
  })
  server.on('error', (error) => report(`TCP on ${run.port}`, error))
  server.listen(run.port, '::')
}

/** Sends at a steady rate, in pieces of 100 ms; connects again from time to time, and after a failure. */
export function runTcpStream(run: RunOf<'tcp-stream'>, { names }: WorkContext): void {
  const piece = Buffer.alloc(Math.ceil(run.bytesPerSecond / 10), 'stream ')
  let socket: Socket | undefined
  let blocked = false
  const open = async () => {
    const [ip] = await names.resolve(run.to, run.family)
    if (ip === undefined) return
    const opened = connect({ host: ip, port: run.port })
    socket = opened
    blocked = true
    opened.on('connect', () => {
      blocked = false
    })
    opened.on('drain', () => {
      blocked = false
    })
    opened.on('error', () => opened.destroy())
    opened.on('close', () => {
      if (socket === opened) socket = undefined
    })
  }
  setInterval(() => {
    if (!socket) return
    if (!blocked) blocked = !socket.write(piece)
  }, 100)
  setInterval(() => socket?.end(), run.reconnectMs)
  setInterval(() => {
    if (!socket) void open()
  }, 1000)
  void open()
}

/** Connects and hangs up: to a closed port, to an address without a route. */
export function runTcpConnect(run: RunOf<'tcp-connect'>, { names }: WorkContext): void {
  setInterval(async () => {
    const [ip] = await names.resolve(run.to, run.family)
    if (ip === undefined) return
    const socket = connect({ host: ip, port: run.port })
    socket.setTimeout(run.timeoutMs, () => socket.destroy())
    socket.on('connect', () => socket.end())
    socket.on('error', () => socket.destroy())
    socket.resume()
  }, run.everyMs)
}
