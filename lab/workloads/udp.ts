import { createSocket } from 'node:dgram'
import { isIP } from 'node:net'
import type { WorkContext } from './names.ts'
import type { RunOf } from './roles.ts'

/** Sends back what it gets. */
export function runUdpEcho(run: RunOf<'udp-echo'>, { config, report }: WorkContext): void {
  for (const address of config.addresses) {
    const socket = createSocket({
      type: isIP(address) === 6 ? 'udp6' : 'udp4',
      ...(run.receiveBufferBytes > 0 ? { recvBufferSize: run.receiveBufferBytes } : {}),
    })
    socket.on('error', (error) => report(`UDP on ${run.port}`, error))
    socket.on('message', (message, from) => socket.send(message, from.port, from.address))
    socket.bind(run.port, address)
  }
}

/** Sends datagrams, in bursts if so told, and reads the answers. One socket: one flow. */
export function runUdpClient(run: RunOf<'udp-client'>, { names, report }: WorkContext): void {
  const type = run.family === 6 ? 'udp6' : 'udp4'
  const message = Buffer.alloc(run.bytes, 'datagram ')
  let socket = open()
  setInterval(async () => {
    const [ip] = await names.resolve(run.to, run.family)
    if (ip === undefined) return
    // A refused datagram (ICMP port unreachable) comes back as an error of a later send: nothing to do about it.
    for (let i = 0; i < run.burst; i++) socket.send(message, run.port, ip, () => {})
  }, run.everyMs)

  function open() {
    const opened = createSocket(type)
    opened.on('error', (error) => {
      report(`UDP to ${run.to}:${run.port}`, error)
      opened.close()
      if (socket === opened) socket = open()
    })
    opened.bind(0, run.from ?? (run.family === 6 ? '::' : '0.0.0.0'), () => {
      if (run.ttl > 0) opened.setTTL(run.ttl)
    })
    return opened
  }
}
