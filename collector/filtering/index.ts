/** Filters in the kernel: agent/ makes one KernelFilter beside the datapath. */
export { KernelFilter, type KernelFilterOptions } from './kernel-filter.ts'
