#!/usr/bin/env node
import { existsSync } from 'node:fs'

const built = new URL('../dist/cli/main.js', import.meta.url)

if (existsSync(built)) {
  const { main } = await import(built.href)
  await main()
} else {
  console.error('sluice is not built: run `npm run build` (or `npm run setup` on a fresh machine)')
  process.exitCode = 1
}
