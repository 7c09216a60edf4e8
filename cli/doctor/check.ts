/** What one look at this machine found. */
export interface Finding {
  /** Kernel, Permissions, Files, Ports, Lab: what it belongs to. */
  readonly group: string
  readonly name: string
  /** missing: the agent cannot run; warning: it runs, but less well, or a part cannot; ok. */
  readonly state: 'ok' | 'warning' | 'missing'
  /** What was found, in a few words. */
  readonly detail: string
  /** What to do; empty when there is nothing to do. */
  readonly fix: string
}

export function ok(group: string, name: string, detail = ''): Finding {
  return { group, name, state: 'ok', detail, fix: '' }
}

export function missing(group: string, name: string, detail: string, fix: string): Finding {
  return { group, name, state: 'missing', detail, fix }
}

export function warning(group: string, name: string, detail: string, fix: string): Finding {
  return { group, name, state: 'warning', detail, fix }
}
