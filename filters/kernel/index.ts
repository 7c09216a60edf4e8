/** What of the rules the kernel decides: collector/filtering/ writes plans into its tables. */
export { EndpointIndex } from './endpoint-index.ts'
export type { NetworkPrefix, PortTable, PrefixTable } from './field-tables.ts'
export { MASK_BYTES, PAIR_BYTES } from './mask.ts'
export { MatchCounts, type MatchReading } from './match-counts.ts'
export { compileKernelPlan, type KernelPlan, type PlannedConsumer, type PlannedRule, planSteps } from './plan.ts'
export type { RuleNode } from './term.ts'
