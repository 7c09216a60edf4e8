#!/usr/bin/env bash
# Boots Debian's kernels under emulation and runs the kernel tests in them: 6.1, which has no tcx, so that everything goes
# by clsact filters, and 6.12. Prints what the guest prints, then one line of counts for each kernel.
#
#   test/kernels/run.sh                       both kernels, the files of guest/tests.txt
#   test/kernels/run.sh 6.1                   one kernel
#   test/kernels/run.sh 6.1 test/kernel/drops.test.ts native
#   test/kernels/run.sh 6.12 --shell          a shell in the guest instead; `poweroff -f` ends it
#
#   SLUICE_KERNELS_MINUTES   limit for each kernel, 20 unless told
#
# Exit code: 0 all passed, 1 a test failed or a guest did not finish, 2 it could not be tried.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
project=$(cd "$here/../.." && pwd)
cache=$here/.cache
minutes=${SLUICE_KERNELS_MINUTES:-20}
export PATH="$PATH:/usr/sbin:/sbin"

say() { printf '\033[2m[kernels]\033[0m %s\n' "$*" >&2; }
die() { say "$*"; exit 2; }

[ "$(uname -m)" = x86_64 ] || die "Debian's amd64 kernels are emulated on x86_64 only; this machine is $(uname -m)"
[[ "$minutes" =~ ^[1-9][0-9]*$ ]] || die "SLUICE_KERNELS_MINUTES is \"$minutes\": it must be a whole number of minutes"

series=() tests=() shell=0
for argument in "$@"; do
  case "$argument" in
    6.1 | 6.12) series+=("$argument") ;;
    --shell) shell=1 ;;
    -*) die "Unknown option \"$argument\": --shell is the only one" ;;
    *) tests+=("$argument") ;;
  esac
done
[ ${#series[@]} -gt 0 ] || series=(6.1 6.12)
[ ${#tests[@]} -gt 0 ] || mapfile -t tests < <(grep -v '^#' "$here/guest/tests.txt")
[ $shell = 0 ] || [ -t 0 ] || die "--shell needs a terminal"

# shellcheck source=test/kernels/host/packages.sh
. "$here/host/packages.sh"
# shellcheck source=test/kernels/host/kernel.sh
. "$here/host/kernel.sh"
# shellcheck source=test/kernels/host/image.sh
. "$here/host/image.sh"

# One run at a time: the image and the kernels are shared.
mkdir -p "$cache"
exec 9> "$cache/lock"
flock -n 9 || die "Another run has $cache"

install_packages
bash "$project/scripts/setup.sh" --test
for one in "${series[@]}"; do fetch_kernel "$one"; done
printf '%s\n' "${tests[@]}" > "$cache/tests"
build_image "${series[@]}"

# Under emulation a machine has no cores of its own; the watchdogs of the kernel do not know that.
arguments="console=ttyS0 quiet panic=-1 mitigations=off nowatchdog rcupdate.rcu_cpu_stall_suppress=1 tsc=unstable"

# Whatever ends this script ends the emulator.
emulator=
trap '[ -z "$emulator" ] || kill "$emulator" 2> /dev/null' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# Boots the kernel of a series. Its console is this script's output; results come by the second serial port.
boot() {
  local one=$1 dir=$cache/$1 status=0
  : > "$dir/results"
  : > "$dir/console.log"
  local qemu=(qemu-system-x86_64 -accel tcg,thread=multi -cpu max -smp 2 -m 2048 -display none -no-reboot -nodefaults
    -kernel "$dir/vmlinuz" -initrd "$dir/initrd.gz"
    -append "$arguments sluice.shell=$shell sluice.minutes=$minutes"
    -drive "file=$cache/image.ext4,if=virtio,format=raw,snapshot=on")
  if [ $shell = 1 ]; then
    "${qemu[@]}" -serial mon:stdio
    return
  fi
  # The guest ends by itself first: three minutes are for boot and shutdown.
  timeout --kill-after=10 "$(((minutes + 3) * 60))" \
    "${qemu[@]}" -serial "file:$dir/console.log" -serial "file:$dir/results" < /dev/null &
  emulator=$!
  tail -n +1 -f --pid="$emulator" "$dir/console.log" | sed -u 's/\r//g; s/\x1b\[[?0-9;]*[a-zA-Z]//g' &
  wait "$emulator" || status=$?
  emulator=
  wait
  [ $status = 0 ] || say "the emulator for $one ended with status $status"
}

failed=0 lines=()
for one in "${series[@]}"; do
  say "booting $(cat "$cache/$one/release"), at most $minutes minutes"
  boot "$one"
  [ $shell = 0 ] || continue
  lines+=("$(node "$here/host/summary.mjs" "$one" "$cache/$one/release" "$cache/$one/results")") || failed=1
done
printf '%s\n' "${lines[@]}"
exit $failed
