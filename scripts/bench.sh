#!/usr/bin/env bash
# Benchmarks: npm run bench [-- NAME ...] [-- --json]. Installs what is missing first; needs root for those of the kernel.
set -euo pipefail
cd "$(dirname "$0")/.."
bash scripts/setup.sh --test
export PATH="$PATH:/usr/sbin:/sbin"
exec node --expose-gc --import tsx bench/main.ts "$@"
