import { Lab } from '../../lab/index.ts'

/** Port that traffic/server-0 answers on, by HTTP. */
export const OPEN = 8080
/** Port of it that nobody holds: datagrams are dropped there. */
export const CLOSED = 7009
/** Address of traffic/server-0, the lab's first pod; there is no DNS pod to ask. */
const SERVER = '10.244.1.10'

/**
 * A lab for filters: traffic/http-0, traffic/fortio-0 and other/client-0 connect to traffic/server-0 ten times a second
 * each, and as often send a datagram that is dropped there.
 *
 * @param nodes the pods are on the first
 */
export function trafficLab(nodes: readonly string[] = ['node-1']): Promise<Lab> {
  const caller = (namespace: string, name: string) => ({
    namespace,
    name,
    labels: { app: name },
    run: [
      { kind: 'tcp-connect' as const, to: SERVER, port: OPEN, everyMs: 100 },
      { kind: 'udp-client' as const, to: SERVER, port: CLOSED, everyMs: 100 },
    ],
  })
  return Lab.up({
    cluster: 'test',
    nodes: nodes.map((name) => ({ name })),
    pods: [
      { namespace: 'traffic', name: 'server-0', labels: { app: 'server' }, run: [{ kind: 'http-server', port: OPEN }] },
      caller('traffic', 'http-0'),
      caller('traffic', 'fortio-0'),
      caller('other', 'client-0'),
    ],
  })
}
