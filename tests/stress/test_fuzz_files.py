"""A small sample of the files of `fuzz_files.py`, one of each kind."""

import pytest
from fuzz_files import MAKERS, fuzz


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of the readers, about the damage
def test_damaged_and_unusual_files_are_colorized_or_refused():
    table = fuzz(len(MAKERS), seed=1, progress=False)
    assert all(sum(states.values()) == 1 for states in table.values())
    assert table["whole"]["colored"] == table["zeros"]["failed"] == table["bomb"]["failed"] == 1
