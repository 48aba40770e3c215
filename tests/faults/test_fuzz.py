"""Mutated files: every reader either reads or refuses, in time, and nothing else happens."""

import time
import tracemalloc

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.faults.readers import READERS, REFUSALS, SEEDS
from tests.faults.splices import SPLICES

SECONDS = 1.0
PEAK_BYTES = 300 * 2**20


@st.composite
def mutated(draw, seeds):
    content = bytearray(draw(st.sampled_from(seeds)))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(content)))
        kind = draw(st.sampled_from(["flip", "cut", "splice", "repeat", "bytes"]))
        if kind == "flip" and at < len(content):
            content[at] ^= 1 << draw(st.integers(0, 7))
        elif kind == "cut":
            del content[at : at + draw(st.integers(1, 60))]
        elif kind == "splice":
            content[at:at] = draw(st.sampled_from(SPLICES))
        elif kind == "repeat":
            content[at:at] = content[at : at + 40] * draw(st.integers(1, 30))
        else:
            content[at : at + 8] = draw(st.binary(max_size=8))
    return bytes(content)


def attempt(name, content, folder):
    """Read `content`; returns whether it was refused."""
    start = time.perf_counter()
    try:
        READERS[name](content, folder)
        return False
    except REFUSALS as error:
        assert str(error).strip()
        assert "Traceback" not in str(error)
        return True
    finally:
        assert time.perf_counter() - start < SECONDS


@pytest.fixture(scope="module", autouse=True)
def _imports(tmp_path_factory):
    """What the readers import takes its time once, not within a case's."""
    for name, read in READERS.items():
        read(SEEDS[name][0], tmp_path_factory.mktemp("imports"))


@pytest.mark.parametrize("name", READERS)
def test_whole_files_are_read(name, tmp_path):
    assert not any(attempt(name, content, tmp_path) for content in SEEDS[name])


@pytest.mark.parametrize("name", READERS)
def test_mutated_files_are_read_or_refused(name, tmp_path_factory):
    folder = tmp_path_factory.mktemp(name)
    refused = []

    @settings(
        max_examples=100,
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    @given(mutated(SEEDS[name]))
    def check(content):
        refused.append(attempt(name, content, folder))

    check()
    assert any(refused)


@pytest.mark.parametrize("name", [name for name in READERS if name != "config"])
def test_sizes_that_a_header_claims_take_no_memory(name, tmp_path):
    """Numbers in a file are replaced by huge ones: what they would need is not taken."""
    for content in SEEDS[name]:
        for at in range(0, min(len(content), 128), 2):
            for width, value in ((4, 0x7FFFFFFF), (8, 2**60)):
                for order in ("little", "big"):
                    claimed = value.to_bytes(width, order)
                    changed = content[:at] + claimed + content[at + width :]
                    tracemalloc.start()
                    try:
                        attempt(name, changed, tmp_path)
                        assert tracemalloc.get_traced_memory()[1] < PEAK_BYTES
                    finally:
                        tracemalloc.stop()
