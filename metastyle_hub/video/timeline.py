"""Times that increase strictly, whatever a file states: missing, repeated, jumping back or far ahead."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from fractions import Fraction

__all__ = ["Timeline"]

_BACK = Fraction(1, 4)  # seconds: further back than rounding and reordering go
_TICK = Fraction(1, 90_000)  # seconds: rounding, so that denominators do not grow
_TOGETHER = 1  # seconds within which streams of one recording jump


@dataclass
class _Stream:
    offset: Fraction = Fraction(0)  # seconds added to the times of the file
    segment: int = 0  # jumps so far
    end: Fraction | None = None  # where the next time is expected
    last: Fraction | None = None


class Timeline:
    """Places frames and audio of a video on one line of time.

    A time that is missing is the expected one. Where time jumps, as in recordings that were joined byte by byte, the
    next recording follows the one before; all streams jump by the same amount, so that they stay synchronous. Of times
    that repeat or go back a little, the later ones come a part of a frame after the one before.

    Args:
        ahead: seconds from which on a gap is a jump.

    >>> timeline = Timeline(ahead=60)
    >>> [float(timeline.place("video", Fraction(t), Fraction(1, 4))) for t in (0, 1, 1, 900)]
    [0.0, 1.0, 1.25, 1.5]
    """

    def __init__(self, ahead: float) -> None:
        self._ahead = ahead
        self._offsets = [Fraction(0)]  # of each segment, set by the stream that comes to it first
        self._streams: dict[Hashable, _Stream] = {}

    def place(self, key: Hashable, time: Fraction | None, step: Fraction) -> Fraction:
        """Return the time of the next item of a stream, later than the one before.

        Args:
            key: of the stream.
            time: seconds, as the file states it.
            step: seconds after which the next item is expected, more than 0.
        """
        stream = self._streams.setdefault(key, _Stream())
        expected = stream.end or Fraction(0)
        if time is None:
            placed = expected
        else:
            placed = time + stream.offset
            back = stream.last is not None and placed < stream.last - _BACK
            if back or abs(placed - expected) > self._ahead:
                placed = time + self._jump(stream, time, expected)
        if stream.last is not None and placed <= stream.last:
            # much smaller steps where it is ahead of the file, so that it does not run away from the audio
            share = (float(step) / float(step + stream.last - placed)) ** 3
            placed = stream.last + max(round(step * share / _TICK), 1) * _TICK
        stream.last, stream.end = placed, placed + step
        return placed

    def _jump(self, stream: _Stream, time: Fraction, expected: Fraction) -> Fraction:
        stream.segment += 1
        if stream.segment == len(self._offsets):
            self._offsets.append(expected - time)
        shared = self._offsets[stream.segment]
        stream.offset = shared if abs(time + shared - expected) <= _TOGETHER else expected - time
        return stream.offset
