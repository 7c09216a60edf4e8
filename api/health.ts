import { BinaryReader, BinaryWriter } from '@bufbuild/protobuf/wire'

/** grpc.health.v1 HealthCheckResponse.ServingStatus */
export type HealthState = 'UNKNOWN' | 'SERVING' | 'NOT_SERVING' | 'SERVICE_UNKNOWN'

const STATES: readonly HealthState[] = ['UNKNOWN', 'SERVING', 'NOT_SERVING', 'SERVICE_UNKNOWN']

/** grpc.health.v1.Health/Check for clients: request { service = 1 }, response { status = 1 }. */
export const healthMethod = {
  path: '/grpc.health.v1.Health/Check',
  serialize: (service: string): Buffer => Buffer.from(new BinaryWriter().uint32(10).string(service).finish()),
  deserialize: (bytes: Buffer): HealthState => {
    const reader = new BinaryReader(bytes)
    let state = 0
    while (reader.pos < reader.len) {
      const tag = reader.uint32()
      if (tag === 8) state = reader.int32()
      else reader.skip(tag & 7)
    }
    return STATES[state] ?? 'UNKNOWN'
  },
} as const
