#!/usr/bin/env bash
# Run the test suite: bash scripts/test.sh [arguments of pytest]
set -eu -o pipefail
cd "$(dirname "$0")/.."
. scripts/environment.sh

make_environment test
exec "$PYTHON" -m pytest "$@"
