#!/usr/bin/env node
import { existsSync } from 'node:fs'
import { setFlagsFromString } from 'node:v8'

// The agent allocates next to nothing per flow: room for young objects that grows to 48 MB would only be held.
setFlagsFromString('--semi-space-growth-factor=1')

const built = new URL('../dist/cli/main.js', import.meta.url)

if (existsSync(built)) {
  const { main } = await import(built.href)
  await main()
} else {
  console.error('sluice is not built: run `npm run build` (or `npm run setup` on a fresh machine)')
  process.exitCode = 1
}
