#!/usr/bin/env bash
# From a fresh clone to the executed notebook: bash scripts/quickstart.sh
set -eu -o pipefail
. "$(dirname "$0")/environment.sh"

make_environment notebook
echo "Executing colorize.ipynb with the quick profile, which takes some minutes on a CPU"
"$PYTHON" scripts/run_notebook.py colorize.ipynb output/colorize.ipynb
echo
echo "Executed notebook:  $PWD/output/colorize.ipynb"
echo "Figures:            $PWD/output/figures/"
echo "Trained models:     $PWD/runs/quick/"
