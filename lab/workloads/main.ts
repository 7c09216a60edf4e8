import { createInterface } from 'node:readline'
import { runDnsServer } from './dns-server.ts'
import { runHttpClient, runHttpServer } from './http.ts'
import { Names, type WorkContext } from './names.ts'
import { runPing } from './ping.ts'
import type { Run, RunOf, WorkloadConfig } from './roles.ts'
import { runTcpConnect, runTcpSink, runTcpStream } from './tcp.ts'
import { runUdpClient, runUdpEcho } from './udp.ts'

/*
 * The process of a pod of the lab. Its first line of input is a WorkloadConfig; it works until its input ends.
 * Failing connections are its business as usual and not worth a message.
 */

const WORK: { readonly [K in Run['kind']]: (run: RunOf<K>, context: WorkContext) => void } = {
  'http-server': runHttpServer,
  'http-client': runHttpClient,
  'dns-server': (_, context) => runDnsServer(context),
  'dns-client': (run, { names }) => every(run.everyMs, (turn) => void names.ask(run.names[turn % run.names.length]!)),
  'tcp-sink': runTcpSink,
  'tcp-stream': runTcpStream,
  'tcp-connect': runTcpConnect,
  'udp-echo': runUdpEcho,
  'udp-client': runUdpClient,
  ping: runPing,
}

/** Messages per process: something that fails for ever must not fill the disk. */
let messagesLeft = 200

function main(): void {
  process.on('uncaughtException', (error) => report('unexpected', error))
  process.stdin.on('close', () => process.exit(0))
  createInterface({ input: process.stdin }).once('line', (line) => {
    const config: WorkloadConfig = JSON.parse(line)
    process.title = `sluice-lab ${config.name}`
    const context: WorkContext = { config, names: new Names(config), report }
    for (const run of config.runs) {
      try {
        start(run, context)
      } catch (error) {
        report(run.kind, error)
      }
    }
  })
}

function start<K extends Run['kind']>(run: RunOf<K>, context: WorkContext): void {
  WORK[run.kind as K](run, context)
}

function every(intervalMs: number, work: (turn: number) => void): void {
  let turn = 0
  setInterval(() => work(turn++), intervalMs)
}

function report(what: string, error: unknown): void {
  if (messagesLeft-- > 0) console.error(`${process.title}: ${what}: ${error instanceof Error ? error.message : error}`)
}

main()
