#!/usr/bin/env bash
# Builds and runs every test: installs missing Debian packages, runs the ring's stress test under ThreadSanitizer and what
# reads outside bytes under AddressSanitizer and UndefinedBehaviorSanitizer (fuzz corpora, ring, parser, decoder), then
# kills the ring's writer in a release build, then everything else in the dev build, whose closing line is the last one. With
# arguments only the dev build is run, and they go to ctest: tests/run.sh -L unit, tests/run.sh -R e2e_types.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
deploy/install_packages.sh
# What cannot be fetched is not skipped: the test that needs it fails and says so.
tools/fetch_packages prometheus nginx-light haproxy slowhttptest || true
command -v node >/dev/null || tools/fetch_packages nodejs || true
# Without a MySQL server what needs one is skipped, and the last line says so.
mysql=$(tools/fetch_mysql) || mysql=
if (($# == 0)); then
  cmake --preset tsan
  cmake --build --preset tsan --target ring_stress_test
  ctest --preset tsan -R '^ring_stress_test$' --no-tests=error
  readers=(shm_test http_test writer_decode_test)
  fuzzers=(http_request_fuzz target_fuzz binlog_event_fuzz json_binary_fuzz catalogue_fuzz ring_contents_fuzz
    command_body_fuzz config_fuzz)
  cmake --preset asan
  cmake --build --preset asan --target "${readers[@]}" "${fuzzers[@]}"
  ctest --preset asan --parallel "$(nproc)" -R "^($(IFS='|' && echo "${readers[*]} ${fuzzers[*]}" | tr ' ' '|'))\$" --no-tests=error
  # As it is deployed: optimised in full.
  cmake --preset release -DRINGSIDE_BENCH=OFF
  cmake --build --preset release --target ring_crash_test compaction_crash_test
  ctest --test-dir build/release --parallel "$(nproc)" -R '^(ring|compaction)_crash_test$' --no-tests=error --output-on-failure
  set -- -E '^(ring|compaction)_crash_test$'
fi
cmake --preset dev
cmake --build --preset dev
status=0
ctest --preset dev --no-tests=error --parallel "$(nproc)" "$@" || status=$?
[[ -n $mysql ]] || echo "NOT TESTED ON MySQL: tools/fetch_mysql found no server (see above); recorded binlogs were replayed" >&2
exit "$status"
