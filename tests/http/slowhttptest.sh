#!/usr/bin/env bash
# tests/http/slowhttptest.sh URL [SECONDS [CONNECTIONS]]: slowhttptest's attacks on a running program: heads that never end,
# bodies that never end, answers that are not taken, overlapping ranges. Meanwhile the URL, which has to be one that is answered
# 200, is asked for again and again; the script fails when an answer did not come once. (slowhttptest's own word counts as
# well, but it asks every five seconds, and first before it has begun.) It needs curl, and slowhttptest, installed or
# unpacked by tools/fetch_packages.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
url=${1:?usage: tests/http/slowhttptest.sh URL [SECONDS [CONNECTIONS]]}
seconds=${2:-30}
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

# Asks once, as anybody would. It may take as long as a busy machine needs: availability is asked for, not speed.
probe() {
  local status
  status=$(curl -s -o /dev/null -w '%{http_code}' --max-time 60 "$url") || true
  if [[ $status == 200 ]]; then answered=$((answered + 1)); else unanswered=$((unanswered + 1)); fi
}

attack() {
  local name=$1
  shift
  answered=0 unanswered=0
  "$program" "$@" -u "$url" -c "$connections" -r "$connections" -l "$seconds" -p 20 >"$log" 2>&1 &
  local pid=$!
  # At least once; and again and again as long as the attack goes on.
  while probe && kill -0 "$pid" 2>/dev/null; do sleep 0.2; done
  wait "$pid" || {
    cat "$log" >&2
    echo "$name: slowhttptest failed" >&2
    return 1
  }
  local plain unavailable
  plain=$(sed 's/\x1b\[[0-9;]*m//g' "$log")
  unavailable=$(grep -cE 'service available: *NO' <<<"$plain" || true)
  printf '%s: %s: answered %s times, not %s times; by slowhttptest unavailable %s times; at its end: %s\n' "$url" "$name" \
    "$answered" "$unanswered" "$unavailable" \
    "$(grep -E '^(initializing|pending|connected|error|closed):' <<<"$plain" | tail -5 | tr -s ' \n' ' ')"
  ((answered > 0 && unanswered == 0 && unavailable == 0)) || { cat "$log" >&2; return 1; }
}

attack 'slow heads' -H -i 1 -x 24 -t GET
attack 'slow bodies' -B -i 1 -x 24 -s 8192 -t PUT -f application/json
attack 'slow reading' -X -w 1 -y 64 -n 1 -z 32 -k 3
attack 'ranges' -R -a 10 -b 3000
