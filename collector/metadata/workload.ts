/** The controlling entry of a pod's ownerReferences. */
export interface ControllerReference {
  readonly kind: string
  readonly name: string
}

/** What of a pod's metadata decides its workload. */
export interface WorkloadInput {
  /** Empty for pods that somebody named by hand. */
  readonly generateName: string
  readonly labels: Readonly<Record<string, string>>
  readonly controller: ControllerReference | undefined
}

/** CronJob names its jobs by the minute they are due, in decimals since 1970 (older ones by the second). */
const CRON_JOB = /^(.+)-[0-9]{8,10}$/

/**
 * The workload that Hubble names for a pod: its controller, or what stands behind it where the name tells.
 *
 *   ReplicaSet whose name ends in the pod-template-hash label  → Deployment, without that ending
 *   ReplicationController with label deploymentconfig          → DeploymentConfig of that name
 *   Job named <name>-<8 to 10 digits>                          → CronJob <name>
 *   anything else                                              → itself
 *
 * @returns undefined for pods without controller or generateName
 */
export function workloadOf(pod: WorkloadInput): { readonly name: string; readonly kind: string } | undefined {
  const { controller, labels } = pod
  if (controller === undefined || pod.generateName === '') return undefined
  const { kind, name } = controller
  if (kind === 'ReplicaSet') {
    const suffix = `-${labels['pod-template-hash'] ?? ''}`
    if (suffix !== '-' && name.length > suffix.length && name.endsWith(suffix)) {
      return { name: name.slice(0, -suffix.length), kind: 'Deployment' }
    }
  }
  if (kind === 'ReplicationController') {
    const config = labels['deploymentconfig'] ?? ''
    if (config !== '') return { name: config, kind: 'DeploymentConfig' }
  }
  if (kind === 'Job') {
    const cron = CRON_JOB.exec(name)
    if (cron !== null) return { name: cron[1]!, kind: 'CronJob' }
  }
  return { name, kind }
}
