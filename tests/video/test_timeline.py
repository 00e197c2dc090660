"""Times increase strictly and stay close to those of the file, whatever it states."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise

import pytest

from metastyle_hub.video.timeline import Timeline

STEP = Fraction(1, 25)


def placed(times, step=STEP, ahead=60.0, key="video", timeline=None):
    timeline = timeline or Timeline(ahead)
    result = [timeline.place(key, None if t is None else Fraction(t), step) for t in times]
    assert all(a < b for a, b in pairwise(result))
    return result


def test_good_times_are_kept_exactly():
    times = [Fraction(1001 * i, 30_000) for i in (0, 1, 2, 5, 6, 1000)]
    assert placed(times) == times


def test_missing_times_follow_at_the_rate():
    assert placed([None] * 4) == [i * STEP for i in range(4)]
    assert placed([Fraction(1), None, None, Fraction(5)]) == [1, 1 + STEP, 1 + 2 * STEP, 5]


@pytest.mark.parametrize("step", [Fraction(1, 1000), Fraction(1, 2000), Fraction(1, 25)])
def test_repeated_times_do_not_drift_from_the_file(step):
    times = [Fraction(i // 2, 1000) for i in range(4000)]  # 2,000 frames a second with a clock of 1 ms
    result = placed(times, step)
    assert all(abs(a - b) <= 4 * step for a, b in zip(result, times, strict=True))
    assert result[-1].denominator <= 90_000


def test_a_recording_that_is_joined_follows_the_one_before():
    times = [10 + i * STEP for i in range(50)]
    result = placed([*times, *times, *times])
    assert result == [10 + i * STEP for i in range(150)]


@pytest.mark.parametrize("jump", [-30, 7200])
def test_audio_and_images_jump_together(jump):
    timeline = Timeline(60)
    images = placed([100 + i * STEP for i in range(50)], timeline=timeline)
    audio = placed([100 + i * STEP / 2 for i in range(98)], STEP / 2, key=0, timeline=timeline)
    more = placed([100 + jump + i * STEP for i in range(50)], timeline=timeline)
    # the audio of the second recording begins 80 ms after its images
    late = placed([100 + jump + Fraction("0.08") + i * STEP / 2 for i in range(50)], STEP / 2, key=0, timeline=timeline)
    assert more[0] == images[-1] + STEP and late[0] - more[0] == Fraction("0.08") and late[0] > audio[-1]


def test_gaps_are_kept_but_not_absurd_times():
    assert placed([0, 50, 51]) == [0, 50, 51]
    assert placed([0, 2**40, 2**40 + 1]) == [0, STEP, 1 + STEP]
    assert placed([2**40, 2**40 + 1]) == [0, 1]


def test_a_single_wrong_time_does_no_lasting_harm():
    times = [i * STEP for i in range(100)]
    wrong = [*times[:50], Fraction(10**9), *times[51:]]
    assert placed(wrong)[-1] == pytest.approx(float(times[-1]), abs=float(2 * STEP))
    wrong = [*times[:50], Fraction(-(10**9)), *times[51:]]
    assert placed(wrong)[-1] == pytest.approx(float(times[-1]), abs=float(2 * STEP))
