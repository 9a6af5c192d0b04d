"""The figures of `bench`: what counts as growing memory, and what enabling the add-on costs."""

import random

import pytest

from backend import bench_addon, bench_batch


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
