#!/usr/bin/env bash
# Builds and runs every test: installs missing Debian packages, configures, builds, runs ctest, whose closing line is
# the last one. Arguments go to ctest: tests/run.sh -L unit, tests/run.sh -R e2e_types.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
deploy/install_packages.sh
# What cannot be fetched is not skipped: the test that needs it fails and says so.
tools/fetch_promtool || true
cmake --preset dev
cmake --build --preset dev
exec ctest --preset dev --no-tests=error "$@"
