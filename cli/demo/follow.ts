import type { ObserverClient } from '../../api/client.ts'
import { type Io, LineWriter } from '../io.ts'
import { createPrinter } from '../output/printers.ts'
import { paintFor } from '../paint.ts'
import type { FlowSummary } from './summary.ts'

/** Flows from before the reader came that are shown too. */
const BACKLOG = 1000n
/** More than any history holds. */
const ALL = 1n << 40n

/** Shows flows as any user would see them, by gRPC, until the signal fires. */
export async function followFlows(
  io: Io,
  client: ObserverClient,
  summary: FlowSummary,
  options: { readonly signal: AbortSignal; readonly quiet: boolean },
): Promise<void> {
  const printer = createPrinter('wide', {
    timeFormat: 'StampMilli',
    printNodeName: false,
    printPolicyNames: false,
    ipTranslation: true,
    paint: paintFor(io),
    debug: false,
  })
  const out = new LineWriter(io.stdout)
  for await (const response of client.getFlows({ number: BACKLOG, follow: true }, { signal: options.signal })) {
    if (response.flow) summary.add(response.flow)
    if (options.quiet) continue
    await out.write(printer.print(response))
    await out.flush()
  }
}

/** Adds all flows that the agent holds to a summary, without following them. */
export async function sumUp(client: ObserverClient, summary: FlowSummary): Promise<void> {
  for await (const { flow } of client.getFlows({ number: ALL })) if (flow) summary.add(flow)
}
