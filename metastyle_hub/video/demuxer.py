"""Read the frames and the audio packets of a video through PyAV, past damage and disorder."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

from metastyle_hub.errors import ImageError, VideoError
from metastyle_hub.images.decoding import ImageLimits, check_pixels
from metastyle_hub.video.color import upright_rgb
from metastyle_hub.video.frames import AudioPacket, Frame, cause_of, pyav
from metastyle_hub.video.timeline import Timeline

__all__ = ["StreamSource"]

log = logging.getLogger(__name__)

_NO_TIMES, _TIMES_JUMP = 0x80, 0x200  # flags of FFmpeg's formats: raw streams; broadcasts and recordings of them
_GENERATE_TIMES = 0x1  # flag of FFmpeg's containers: invent missing presentation times, wrongly for B-frames
_GAP, _BROADCAST_GAP = 30 * 3600.0, 60.0  # seconds from which on a gap is an error in the times
_READ_AHEAD = 10  # seconds of images in which the audio of the last frame must have come
_MAX_ERRORS = 50  # without a packet between them
_MAX_RATE = 1000  # frames a second; more is an error in the file


class StreamSource:
    """An open video. Iterate over it once, for frames in order and audio packets between them; then close it.

    Args:
        descriptor: of the open file or pipe; it is duplicated.
        name: for messages.
        limits: for the pixels of a frame.

    Attributes:
        count: of the frames, as far as the file states it.
        rate: average frames per second.
        audio: the audio streams.
        loop: how often animations are shown; 0 for without end.

    Raises:
        VideoError: if it is no video that can be read.
        ImageError: for frames with too many pixels.
    """

    loop = 0

    def __init__(self, descriptor: int, name: str, limits: ImageLimits) -> None:
        av = pyav()
        self.name, self._limits, self._frames = name, limits, 0
        try:
            # by its number: a name may hold a colon or bytes that are no text, and with no other protocol a playlist
            # cannot make FFmpeg open further files
            options = {"fd": str(descriptor), "protocol_whitelist": "fd"}
            self._container = av.open("fd:", options=options, metadata_errors="replace")
        except (av.FFmpegError, OSError, ValueError) as error:
            raise VideoError(f"{name} is no video that can be read ({cause_of(error)}); convert it first.") from error
        try:
            self._video = _video_stream(self._container, name)
            check_pixels(name, self._video.width, self._video.height, limits)
        except (VideoError, ImageError):
            self._container.close()
            raise
        self._aspect = aspect = self._video.sample_aspect_ratio  # width of a pixel by its height
        area = self._video.width * self._video.height
        if aspect and area * max(aspect, 1 / aspect) > limits.max_pixels:
            self._aspect = None
        self._container.flags &= ~_GENERATE_TIMES
        self._video.thread_type = "AUTO"
        self.audio = [stream for stream in self._container.streams.audio if stream.codec_context is not None]
        for stream in self._container.streams.audio:
            if stream.codec_context is None:
                log.warning("An audio track of %s is left out: there is no decoder for it.", name)
        flags = int(self._container.format.flags)
        rates = [self._video.average_rate, self._video.guessed_rate]
        # raw streams have no times: their average is FFmpeg's default, and the codec states the rate
        rate = next((rate for rate in (reversed(rates) if flags & _NO_TIMES else rates) if rate), 25)
        self.rate = Fraction(rate) if 0 < rate <= _MAX_RATE else Fraction(25)
        self.count: int | None = self._video.frames or None
        if self.count is None and self._container.duration and self._container.duration > 0:
            self.count = round(Fraction(self._container.duration, av.time_base) * self.rate) or None
        start = self._container.start_time  # of video or audio, the earlier one
        self._begin = None if start is None else Fraction(start, av.time_base)
        self._timeline = Timeline(_BROADCAST_GAP if flags & _TIMES_JUMP else _GAP)
        self._has_times, self._is_avi = not flags & _NO_TIMES, self._container.format.name == "avi"
        self._first_dts: int | None = None
        self._delay: Fraction | None = None  # from the decoding time of a frame to that of its packet
        self._step = 1 / self.rate  # seconds, of the last two frames
        self._last: Fraction | None = None  # as the file states it
        self._packets = self._demux()

    def __iter__(self) -> Iterator[Frame | AudioPacket]:
        errors, cause = 0, ""
        for packet in self._packets:
            if packet.stream is not self._video:
                yield from self._audio_packet(packet)
                continue
            if self._first_dts is None:
                self._first_dts = packet.dts
            try:
                frames = [self._frame(decoded) for decoded in packet.decode()]
            except (pyav().FFmpegError, ImageError, ValueError) as error:  # the frames before and after it are usable
                errors, cause = errors + 1, cause_of(error)
                continue
            self._frames += len(frames)
            yield from frames
        if not self._frames and errors:
            raise VideoError(f"{self.name} cannot be decoded ({cause}); convert it first.")
        if errors:
            log.warning("%d damaged packets of %s are left out (%s).", errors, self.name, cause)

    def audio_until(self, end: Fraction) -> Iterator[AudioPacket]:
        """Yield the audio that lies behind the frames that were taken, as far as it begins before `end` (seconds).

        Call it after the last frame that is needed. Images are read but not decoded.
        """
        waiting = set(range(len(self.audio)))
        origin: Fraction | None = None
        for packet in self._packets if waiting else ():
            if packet.stream is self._video:
                time = None if packet.dts is None else packet.dts * packet.time_base
                origin = time if origin is None else origin
                if time is not None and origin is not None and abs(time - origin) > _READ_AHEAD:
                    return
                continue
            for audio in self._audio_packet(packet):
                if audio.start < end:
                    yield audio
                else:
                    waiting.discard(audio.track)
            if not waiting:
                return

    def close(self) -> None:
        """Close the file."""
        self._container.close()

    def _demux(self) -> Iterator[Any]:
        """Yield packets, past errors of the container; the last one of a stream is empty and flushes its decoder."""
        av, streams, errors = pyav(), [self._video, *self.audio], 0
        while True:
            try:
                for packet in self._container.demux(streams):
                    errors = 0
                    yield packet
                return
            except IndexError:  # of PyAV, which at the end flushes streams that appeared within the file as well
                return
            except (av.FFmpegError, OSError) as error:
                errors += 1
                if errors < _MAX_ERRORS and isinstance(error, av.InvalidDataError):
                    continue
                cause = cause_of(error)
                if not self._frames:
                    raise VideoError(f"{self.name} cannot be read ({cause}); convert it first.") from error
                # usually an interrupted download
                log.warning("%s is broken after frame %d (%s); it ends there.", self.name, self._frames, cause)
                flush = av.Packet()
                flush.stream = self._video
                yield flush
                return

    def _frame(self, decoded: Any) -> Frame:
        check_pixels(self.name, decoded.width, decoded.height, self._limits)  # a damaged header may state any size
        stated = self._stated_time(decoded)
        base = decoded.time_base or Fraction(1, 90_000)
        duration: Fraction | None = Fraction(decoded.duration or 0) * base
        if duration is not None and not 0 < duration < _GAP:
            duration = None
        if stated is not None and self._last is not None and 0 < stated - self._last < 1:
            self._step = stated - self._last
        elif stated is None and duration is not None and self._last is None:
            self._step = duration
        self._last = stated
        start = self._timeline.place("video", stated, self._step)
        context = self._video.codec_context
        image, alpha = upright_rgb(decoded, self._aspect, int(context.color_trc), int(context.color_primaries))
        return Frame(image, start, duration, alpha)

    def _stated_time(self, decoded: Any) -> Fraction | None:
        """Return the seconds from the beginning that the file states; of some containers only decoding times."""
        base = decoded.time_base
        if not self._has_times or base is None:
            return None
        time = None if decoded.pts is None or self._is_avi else Fraction(decoded.pts) * base
        if time is None and decoded.dts is not None:
            time = Fraction(decoded.dts) * base
            if self._delay is None and self._first_dts is not None:
                self._delay = time - Fraction(self._first_dts) * base
        if self._delay is None:
            self._delay = Fraction(0)
        if time is None:
            return None
        time -= self._delay
        if self._begin is None:
            self._begin = time
        return time - self._begin

    def _audio_packet(self, packet: Any) -> Iterator[AudioPacket]:
        track, base = next(i for i, stream in enumerate(self.audio) if stream is packet.stream), packet.time_base
        if not packet.size or packet.is_corrupt:  # the last one is empty
            return
        pts = packet.pts if packet.pts is not None else packet.dts
        time = None if pts is None else Fraction(pts) * base
        if time is not None and self._begin is None:
            self._begin = time
        stated = None if time is None else time - (self._begin or 0)
        step = Fraction(packet.duration or 0) * base
        start = self._timeline.place(track, stated, step if 0 < step < 10 else Fraction(1024, 44_100))
        if start != stated or self._begin:
            packet.pts = packet.dts = round(start / base)
        yield AudioPacket(packet, track, start)


def _video_stream(container: Any, name: str) -> Any:
    """Return the stream that players show: no cover image, the default one, the largest."""
    av = pyav()
    still = av.stream.Disposition.attached_pic | av.stream.Disposition.timed_thumbnails
    streams = [s for s in container.streams.video if s.codec_context is not None and not s.disposition & still]
    if not streams:
        kind = "video stream, only a cover image" if container.streams.video else "video stream"
        raise VideoError(f"{name} has no {kind}; choose another file.")
    default = av.stream.Disposition.default
    return max(streams, key=lambda s: (s.frames != 1, bool(s.disposition & default), s.width * s.height))
