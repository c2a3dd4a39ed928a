"""Every benchmark runs, at a tiny size."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).parents[1] / "scripts" / "bench.py"
GROUPS = ("color", "data", "train", "evaluation", "infer", "video")

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("group", GROUPS)
def test_every_benchmark_of_a_group_runs(group, tmp_path):
    bench = pytest.importorskip("bench")  # imports av
    target = tmp_path / "bench.json"
    command = [sys.executable, BENCH, group, "--tiny", "--json", target]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    rows = json.loads(target.read_text())["rows"]
    assert [row["name"] for row in rows] == list(bench.GROUPS[group])
    assert all(row["plain"] > 0 and row["ours"] > 0 for row in rows)


def test_no_group_is_forgotten():
    assert set(pytest.importorskip("bench").GROUPS) == set(GROUPS)
