import { freePort } from '../ports.ts'

const HOST = '127.0.0.1'
const METRICS_PORT = 9965
const GRPC_PORT = 4245
const HEALTH_PORT = 9964

/** Addresses of an agent that was started for a look. */
export interface LocalPlaces {
  readonly metrics: string
  readonly grpc: string
  readonly health: string
  /** What was moved because a port was taken, in words. */
  readonly moved: readonly string[]
}

/** The usual ports on the loopback address, or the next free ones. @throws SluiceError SLUICE_API_LISTEN */
export async function localPlaces(): Promise<LocalPlaces> {
  const taken = new Set<number>()
  const moved: string[] = []
  const place = async (name: string, wanted: number) => {
    const port = await freePort(wanted, HOST, taken)
    if (port !== wanted) moved.push(`port ${wanted} is taken: ${name} is on ${port}`)
    return `${HOST}:${port}`
  }
  const metrics = await place('metrics', METRICS_PORT)
  const grpc = await place('gRPC', GRPC_PORT)
  return { metrics, grpc, health: await place('health', HEALTH_PORT), moved }
}

/** Settings of an agent at these places that says little of itself. */
export function placeSettings(places: LocalPlaces): Record<string, unknown> {
  return {
    'metrics.listen': places.metrics,
    'api.listen': [places.grpc],
    'health.listen': places.health,
    'agentLog.level': 'warn',
    'agentLog.format': 'text',
  }
}
