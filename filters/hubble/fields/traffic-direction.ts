import { listField } from '../field.ts'

/** flow.proto TrafficDirection; 0, unknown, can be asked for. */
export const trafficDirection = listField('traffic_direction', (values) => ({ op: 'traffic-direction', values }))
