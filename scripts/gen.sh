#!/usr/bin/env bash
# Writes every generated file again: layouts from the C headers, messages from the protobuf files, docs, CRDs and charts from schemas.
# With --check it changes nothing and fails when a committed one is stale.
set -euo pipefail
cd "$(dirname "$0")/.."
export PATH="$PATH:/usr/sbin:/sbin"
node scripts/gen-layouts.mjs "$@"
bash scripts/gen-proto.sh "$@"
npx --no-install tsx scripts/gen-docs.ts "$@"
npx --no-install tsx scripts/gen-crds.ts "$@"
npx --no-install tsx scripts/gen-deploy.ts "$@"
