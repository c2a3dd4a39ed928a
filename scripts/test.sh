#!/usr/bin/env bash
# Run the test suite: bash scripts/test.sh [arguments of pytest]
set -eu -o pipefail
. "$(dirname "$0")/environment.sh"

make_environment test
exec "$PYTHON" -m pytest --numprocesses auto --dist worksteal "$@" # one process for each core
