#!/usr/bin/env bash
# Runs fuzzers, each for so many seconds, one after the other, and prints what they did as a table:
#
#   tests/fuzz/run.sh 60                      all of them, a minute each
#   tests/fuzz/run.sh 3600 target_fuzz        one, for an hour
#
# Each begins with its committed corpus and with what earlier runs found (build/fuzz/corpus/NAME, kept). Ends with 1 when
# one of them crashed, hung or took too much memory: the input is in build/fuzz/crashes and belongs into the committed
# corpus, together with the fix. Options of the clang build stand in the preset "fuzz".
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

if (($# == 0)) || ! [[ $1 =~ ^[1-9][0-9]*$ ]]; then
  echo "usage: tests/fuzz/run.sh SECONDS [target…]" >&2
  exit 2
fi
seconds=$1
shift
mapfile -t all < <(sed -n 's/^ringside_fuzzer(\([a-z_]*\)$/\1/p' tests/fuzz/CMakeLists.txt)
targets=("$@")
(($# > 0)) || targets=("${all[@]}")
for target in "${targets[@]}"; do
  if [[ " ${all[*]} " != *" $target "* ]]; then
    echo "$target is none of: ${all[*]}" >&2
    exit 2
  fi
done

cmake --preset fuzz > /dev/null
cmake --build build/fuzz --target "${targets[@]}"

crashes=build/fuzz/crashes
logs=build/fuzz/logs
mkdir -p "$crashes" "$logs"
failed=0
TIMEFORMAT='%R %U %S'
row='%-20s %14s %7s %8s %7s %10s %8s %8s  %s\n'
# shellcheck disable=SC2059
printf "$row" target executions cov ft inputs bytes wall_s cpu_s result
for target in "${targets[@]}"; do
  name=${target%_fuzz}
  corpus=build/fuzz/corpus/$name
  log=$logs/$target.log
  mkdir -p "$corpus"
  result=ok
  times=$({ time build/fuzz/tests/fuzz/"$target" -max_total_time="$seconds" -print_final_stats=1 -timeout=30 \
    -rss_limit_mb=3000 -artifact_prefix="$crashes/$name-" "$corpus" "tests/fuzz/corpus/$name" > "$log" 2>&1 || echo failed; } 2>&1)
  if [[ $times == failed* ]]; then
    result="FAILED: $log"
    failed=1
    times=${times#failed}
  fi
  read -r wall user system <<< "$(echo $times)"
  read -r cov ft < <(sed -n 's/.* cov: \([0-9]*\) ft: \([0-9]*\) .*/\1 \2/p' "$log" | tail -1; echo '- -')
  executions=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
  # shellcheck disable=SC2059
  printf "$row" "$name" "${executions:--}" "$cov" "$ft" "$(find "$corpus" -type f | wc -l)" \
    "$(find "$corpus" -type f -printf '%s\n' | awk '{ sum += $1 } END { print sum + 0 }')" \
    "$wall" "$(awk "BEGIN { print $user + $system }")" "$result"
done
exit $failed
