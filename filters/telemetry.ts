import type { TelemetrySink, TelemetrySource } from '../model/contracts.ts'
import { celFaults } from './cel/program.ts'
import { regexCacheStats } from './regex.ts'

/** What all filters of the process share. */
export const filterTelemetry: TelemetrySource = {
  collect(sink: TelemetrySink): void {
    const { size, compiled, evicted } = regexCacheStats()
    sink.gauge('sluice_filter_regex_cache_entries', 'Compiled regular expressions kept for filters', size)
    sink.counter('sluice_filter_regex_compiled_total', 'Regular expressions compiled for filters', compiled)
    sink.counter('sluice_filter_regex_evicted_total', 'Compiled expressions that the full cache gave up', evicted)
    sink.counter(
      'sluice_filter_cel_faults_total',
      'Evaluations of CEL expressions that failed and so matched nothing',
      celFaults(),
    )
  },
}
