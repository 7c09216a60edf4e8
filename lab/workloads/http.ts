import { Agent, createServer, request } from 'node:http'
import type { WorkContext } from './names.ts'
import type { RunOf } from './roles.ts'

const TIMEOUT_MS = 2000

/** An HTTP/1.1 service. A route may call other services before it answers; unknown paths get 404. */
export function runHttpServer(run: RunOf<'http-server'>, context: WorkContext): void {
  const agent = new Agent({ keepAlive: true, maxSockets: 8 })
  const routes = new Map(
    run.routes.map((route) => [route.path, { ...route, served: 0, body: 'x'.repeat(route.bytes) }]),
  )
  const server = createServer(async (incoming, outgoing) => {
    incoming.resume()
    const route = routes.get(new URL(incoming.url ?? '/', 'http://pod').pathname)
    if (!route) {
      outgoing.writeHead(404).end('not found\n')
      return
    }
    route.served++
    if (route.delayMs > 0) await new Promise((resolve) => setTimeout(resolve, route.delayMs))
    const trace = incoming.headers['traceparent']
    const statuses = await Promise.all(
      route.calls.map((url) => fetchStatus(url, context, { agent, ...(typeof trace === 'string' ? { trace } : {}) })),
    )
    const fails = route.failEvery > 0 && route.served % route.failEvery === 0
    const status = statuses.some((each) => each === 0 || each >= 500) ? 502 : fails ? 500 : route.status
    outgoing.writeHead(status, { 'content-type': 'text/plain' }).end(route.body)
  })
  server.on('error', (error) => context.report(`HTTP on ${run.port}`, error))
  server.listen(run.port, '::')
}

/** Requests one URL after the other, each with a W3C trace id of its own. */
export function runHttpClient(run: RunOf<'http-client'>, context: WorkContext): void {
  const agent = new Agent({ keepAlive: run.keepAlive, maxSockets: 8 })
  let turn = 0
  setInterval(() => {
    const url = run.urls[turn++ % run.urls.length]!
    const trace = `00-${randomHex(32)}-${randomHex(16)}-01`
    void fetchStatus(url, context, { agent, trace, method: run.method, family: run.family })
  }, run.everyMs)
}

/** @returns the status code, 0 when there was no answer */
function fetchStatus(
  url: string,
  { names, config }: WorkContext,
  options: { agent: Agent; trace?: string; method?: string; family?: 4 | 6 },
): Promise<number> {
  return new Promise((resolve) => {
    const headers: Record<string, string> = { 'user-agent': `lab/1 (${config.name})` }
    if (options.trace) headers['traceparent'] = options.trace
    const outgoing = request(
      url,
      {
        agent: options.agent,
        method: options.method ?? 'GET',
        family: options.family ?? 4,
        lookup: names.lookup,
        timeout: TIMEOUT_MS,
        headers,
      },
      (incoming) => {
        incoming.resume()
        incoming.on('error', () => resolve(0))
        incoming.on('end', () => resolve(incoming.statusCode ?? 0))
      },
    )
    outgoing.on('timeout', () => outgoing.destroy())
    outgoing.on('error', () => resolve(0))
    outgoing.on('close', () => resolve(0))
    outgoing.end()
  })
}

function randomHex(length: number): string {
  let text = ''
  while (text.length < length) text += Math.floor(Math.random() * 16).toString(16)
  return text
}
