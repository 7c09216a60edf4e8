import { createSocket } from 'node:dgram'
import { createServer, isIP } from 'node:net'
import { answerQuery, MAX_UDP } from './dns-message.ts'
import type { WorkContext } from './names.ts'

const DNS_PORT = 53
/** A TCP client that sends nothing is dropped after so long. */
const TCP_IDLE_MS = 5000

/** A DNS server for the names of the lab: UDP and TCP on each address of the pod, so that answers come from it. */
export function runDnsServer({ config, report }: WorkContext): void {
  for (const address of config.addresses) {
    const socket = createSocket(isIP(address) === 6 ? 'udp6' : 'udp4')
    socket.on('error', (error) => report(`DNS on ${address}`, error))
    socket.on('message', (query, from) => {
      const answer = answerQuery(query, config.zone, MAX_UDP)
      if (answer) socket.send(answer, from.port, from.address)
    })
    socket.bind(DNS_PORT, address)
    const server = createServer((connection) => {
      let pending = Buffer.alloc(0)
      connection.setTimeout(TCP_IDLE_MS, () => connection.destroy())
      connection.on('error', () => connection.destroy())
      connection.on('data', (chunk) => {
        pending = Buffer.concat([pending, chunk])
        while (pending.length >= 2 && pending.length >= 2 + pending.readUInt16BE(0)) {
          const end = 2 + pending.readUInt16BE(0)
          const answer = answerQuery(pending.subarray(2, end), config.zone, 65535)
          pending = pending.subarray(end)
          if (!answer) continue
          const length = Buffer.alloc(2)
          length.writeUInt16BE(answer.length)
          connection.write(Buffer.concat([length, answer]))
        }
      })
    })
    server.on('error', (error) => report(`DNS on ${address}, TCP`, error))
    server.maxConnections = 64
    server.listen(DNS_PORT, address)
  }
}
