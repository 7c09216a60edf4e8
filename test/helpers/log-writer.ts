/**
 * A process that writes flows to a log until it is killed: `node --import tsx log-writer.ts PATH FIRST`. Flow n carries
 * n + 1 as its bytes. Says on stdout how far it has settled, each time after that is true.
 */
import { writeSync } from 'node:fs'
import { JsonLogExporter, resolveJsonLogOptions } from '../../exporters/json-log/index.ts'
import { TestFlowStore } from './flow-store.ts'

const [path, from] = [process.argv[2]!, Number(process.argv[3])]
const exporter = new JsonLogExporter(resolveJsonLogOptions({ path, maxFileBytes: 1_048_576, maxBackups: 10_000 }))
await exporter.start(new AbortController().signal)
const store = new TestFlowStore(65_536)
store.first = from
store.end = from
for (let said = from; ; ) {
  const first = store.push(...Array.from({ length: 500 }, (_, i) => ({ bytes: store.end + i + 1 })))
  exporter.accept(store, first, store.end)
  await new Promise((resolve) => setImmediate(resolve))
  while (store.end - exporter.settled > 20_000) await new Promise((resolve) => setTimeout(resolve, 1))
  if (exporter.settled > said) {
    said = exporter.settled
    writeSync(1, `${said}\n`)
  }
}
