"""What a step frees stays with the process, so that the next one does not fault page by page."""

import platform
import subprocess
import sys

import pytest

CODE = """
import resource, numpy as np, {module}

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        arrays = [np.ones(3 * 2**17) for _ in range(6)]
        del arrays
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

faults()
print(faults())
"""


def faults_of(module: str) -> int:
    command = [sys.executable, "-c", CODE.format(module=module)]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's allocator")
def test_freed_memory_stays_with_the_process() -> None:
    assert faults_of("sys") > 10_000  # what it would be: 18 MB, page by page, ten times
    assert faults_of("nnad") < 500
