import type { CelProgram } from './program.ts'

export function compileCel(_source: string): CelProgram {
  throw new Error('not built yet')
}
