"""The figures of `bench`: what counts as growing memory, and what enabling the add-on costs."""

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from backend import bench_addon, bench_batch

ROOT = Path(bench_batch.__file__).resolve().parent.parent


def test_memory_that_wavers_does_not_grow_and_a_leak_of_a_megabyte_a_head_does():
    chance = random.Random(3)
    wavering = [300.0, 480.0, *(chance.uniform(525, 540) for _ in range(98))]
    assert abs(bench_batch.growth_after(wavering)) < bench_batch.LARGEST_GROWTH * 530
    leaking = [value + number for number, value in enumerate(wavering)]
    assert bench_batch.growth_after(leaking) > bench_batch.LARGEST_GROWTH * 530


@pytest.mark.blender
@pytest.mark.parametrize("version", bench_addon.SETS)
def test_enabling_the_addon_is_quick_and_brings_in_no_heavy_package(version, blender_python):
    measured = [bench_addon.enable_once(blender_python(version)) for _ in range(2)]
    assert measured[0]["version"].startswith(version)
    assert not set(measured[0]["came"]) & set(bench_addon.HEAVY)
    assert min(each["of_processor"] for each in measured) < bench_addon.MOST_SECONDS


@pytest.mark.skipif(sys.platform != "linux", reason="glibc")
def test_memory_that_a_job_freed_goes_back_to_the_system():
    program = """
import ctypes
from backend.memory import give_back
def occupied():
    return int(open("/proc/self/status").read().split("VmRSS:")[1].split()[0]) / 1e3
libc = ctypes.CDLL("libc.so.6")
libc.malloc.restype, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
blocks = [libc.malloc(50_000) for _ in range(2000)]  # 100 MB, below what glibc maps apart
for block in blocks:
    ctypes.memset(ctypes.c_void_p(block), 1, 50_000)
for block in blocks[:-1]:  # the last one, on top, keeps the heap from shrinking by itself
    libc.free(block)
before = occupied()
give_back()
print(before - occupied())
"""
    variables = os.environ | {"PYTHONPATH": str(ROOT)}
    ended = subprocess.run([sys.executable, "-c", program], env=variables, capture_output=True, text=True, check=True)
    assert float(ended.stdout) > 80
