#!/usr/bin/env bash
# README's test command: installs what is missing, checks types, lint and generated files, and runs the tiers unit,
# kernel and e2e (and interop where Go is installed). Arguments go to vitest. Ends with one line of counts.
set -euo pipefail
cd "$(dirname "$0")/.."
bash scripts/setup.sh --test
export PATH="$PATH:/usr/sbin:/sbin:/usr/lib/llvm-14/bin"

failed=0
step() {
  printf '\033[1m== %s\033[0m\n' "$1"
  shift
  "$@" || { failed=1; printf '\033[31m!! failed: %s\033[0m\n' "$*"; }
}
if [ $# -eq 0 ]; then
  step types npx --no-install tsc --noEmit -p tsconfig.json
  step lint npx --no-install biome check .
  step "generated files" bash scripts/gen.sh --check
fi
report=$(mktemp)
trap 'rm -f "$report"' EXIT
# CI=true makes vitest shard its output differently on failure only; the counts come from the JSON report either way.
step tests npx --no-install vitest run --project unit --project kernel --project e2e --project interop \
  --reporter=default --reporter=json --outputFile.json="$report" "$@"
node -e '
  const r = JSON.parse(require("fs").readFileSync(process.argv[1], "utf8"))
  console.log(`${r.numPassedTests} passed, ${r.numFailedTests} failed, ${r.numPendingTests + r.numTodoTests} skipped`)
' "$report"
exit $failed
