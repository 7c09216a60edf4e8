#!/usr/bin/env bash
# One command that says yes or no: types, lint and format, generated files, unit tests.
set -euo pipefail
cd "$(dirname "$0")/.."
npx --no-install tsc --noEmit -p tsconfig.json
npx --no-install biome check .
bash scripts/gen.sh --check
npx --no-install vitest run --project unit
