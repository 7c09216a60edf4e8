import type { Server } from '@grpc/grpc-js'
import { ReflectionService } from '@grpc/reflection'
import { descriptorFiles } from './flow-schema.ts'

type Definitions = ConstructorParameters<typeof ReflectionService>[0]

/** Services that reflection lists. */
const SERVICES = ['observer.Observer', 'peer.Peer', 'sluice.v1.Agent', 'sluice.v1.Filters', 'grpc.health.v1.Health']

/** Adds grpc.reflection.v1 and v1alpha: `hubble reflect`, `grpcurl list`. */
export function addReflection(server: Server): void {
  // The package is typed for what proto-loader makes, and reads nothing of it but the descriptors.
  const definitions = { sluice: { fileDescriptorProtos: descriptorFiles() } } as unknown as Definitions
  new ReflectionService(definitions, { services: SERVICES }).addToServer(server)
}
