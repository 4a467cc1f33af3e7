#!/usr/bin/env bash
# tests/http/slowhttptest.sh URL [SECONDS [CONNECTIONS]]: slowhttptest's attacks on a running program: heads that never end,
# bodies that never end, answers that are not taken, overlapping ranges. slowhttptest asks for the URL beside its own
# connections; the script fails when an answer did not come once, and prints what slowhttptest saw. It needs nothing but
# the program: Debian's slowhttptest, installed or unpacked by tools/fetch_packages.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
url=${1:?usage: tests/http/slowhttptest.sh URL [SECONDS [CONNECTIONS]]}
seconds=${2:-30}  # at least 6, or it is over before slowhttptest asks
connections=${3:-1000}
unpacked=$root/build/tools/slowhttptest
program=$unpacked/usr/bin/slowhttptest
if [[ -x $program ]]; then
  export LD_LIBRARY_PATH=$unpacked/usr/lib/$(uname -m)-linux-gnu
elif ! program=$(command -v slowhttptest); then
  echo "slowhttptest is missing: run tools/fetch_packages slowhttptest" >&2
  exit 1
fi
ulimit -n "$((connections + 200))" 2>/dev/null || true
log=$(mktemp /tmp/ringside-slowhttptest.XXXXXX)
trap 'rm -f -- "$log"' EXIT

attack() {
  local name=$1 needed=$2
  shift 2
  # The probe may take as long as a busy machine needs: availability is asked for, not speed.
  "$program" "$@" -u "$url" -c "$connections" -r "$connections" -l "$seconds" -p 20 >"$log" 2>&1 || {
    cat "$log" >&2
    echo "$name: slowhttptest failed" >&2
    return 1
  }
  local plain available unavailable
  plain=$(sed 's/\x1b\[[0-9;]*m//g' "$log")
  available=$(grep -cE 'service available: *YES' <<<"$plain" || true)
  unavailable=$(grep -cE 'service available: *NO' <<<"$plain" || true)
  printf '%s: %s, available %s times, not %s times; at its end: %s\n' "$url" "$name" "$available" "$unavailable" \
    "$(grep -E '^(initializing|pending|connected|error|closed):' <<<"$plain" | tail -5 | tr -s ' \n' ' ')"
  # It asks every five seconds, the first time before it has begun.
  ((available >= needed && unavailable == 0)) || { cat "$log" >&2; return 1; }
}

attack 'slow heads' 2 -H -i 1 -x 24 -t GET
attack 'slow bodies' 2 -B -i 1 -x 24 -s 8192 -t POST
attack 'slow reading' 2 -X -w 1 -y 64 -n 1 -z 32 -k 3
attack 'ranges' 1 -R -a 10 -b 3000
