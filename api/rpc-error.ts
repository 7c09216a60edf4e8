import type { status } from '@grpc/grpc-js'

/** What grpc-js turns into the status of a call. */
export interface RpcError extends Error {
  readonly code: status
  readonly details: string
}

/** An error for the client of a call. @param details the text that the client shows */
export function rpcError(code: status, details: string): RpcError {
  return Object.assign(new Error(details), { code, details })
}

/** @returns the error as it is, or INTERNAL (13) with the text of anything else that was thrown */
export function toRpcError(error: unknown): RpcError {
  if (error instanceof Error && 'details' in error && 'code' in error) return error as RpcError
  return rpcError(13 as status, error instanceof Error ? error.message : String(error))
}
