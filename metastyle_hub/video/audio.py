"""Write audio: copied where the container holds its codec, otherwise encoded as AAC; as long as the images."""

from __future__ import annotations

import logging
import math
from collections import deque
from fractions import Fraction
from io import BytesIO
from typing import Any

from metastyle_hub.video.frames import AudioPacket, cause_of, pyav

__all__ = ["AudioTrack"]

log = logging.getLogger(__name__)

# MP4 holds more, but players do not play it there
_PLAYED_IN_MP4 = ("aac", "mp3", "ac3", "eac3", "opus", "flac", "alac")
_AAC_RATES = (96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8_000, 7_350)
_LAYOUTS = {1: "mono", 2: "stereo", 3: "3.0", 4: "4.0", 5: "5.0", 6: "5.1"}
# of the two codes of a language in ISO 639-2, the one that FFmpeg writes into QuickTime
_QUICKTIME_LANGUAGES = {
    "deu": "ger", "fre": "fra", "nld": "dut", "ell": "gre", "isl": "ice", "zho": "chi", "fas": "per", "ron": "rum",
    "sqi": "alb", "hye": "arm", "mya": "bur", "kat": "geo", "mkd": "mac", "msa": "may", "slk": "slo", "ces": "cze",
    "eus": "baq", "cym": "wel", "bod": "tib",
}  # fmt: skip
_BITS_PER_CHANNEL = 96_000  # a second


class AudioTrack:
    """An audio track of an output; packets are held until the images have come as far.

    Args:
        container: the av.OutputContainer, whose header is not written yet.
        source: the audio stream of the input.
        name: of the output, for messages.

    Example::

        track = AudioTrack(container, source.audio[0], "stylized.mp4")
        track.add(packet)
        track.release(until=Fraction(5))
    """

    def __init__(self, container: Any, source: Any, name: str) -> None:
        self._container, self._source, self._name = container, source, name
        self._waiting: deque[AudioPacket] = deque()
        self._resampler: Any = None
        self._stream: Any = None
        self._end = Fraction(-(2**31))  # seconds, of the samples that were encoded
        self._errors, self._cause = 0, ""
        codec = source.codec_context.codec.canonical_name
        if _holds(container.format.name, source):
            self._stream = container.add_stream_from_template(source)
        else:
            self._stream = _aac_stream(container, source)
            if self._stream is None:
                log.warning("A track of audio (%s) is left out of %s: it cannot be converted.", codec, name)
                return
            log.info("Audio (%s) is converted to AAC for %s.", codec, name)
            self._resampler = self._new_resampler()
        self._stream.disposition = int(source.disposition)
        kept = {k: v for k, v in source.metadata.items() if k in ("language", "title")}
        if container.format.name == "mov" and "language" in kept:
            kept["language"] = _QUICKTIME_LANGUAGES.get(kept["language"], kept["language"])
        self._stream.metadata.update(kept)

    def add(self, audio: AudioPacket) -> None:
        """Take a packet, in order."""
        self._waiting.append(audio)

    def release(self, until: Fraction) -> None:
        """Write the packets that begin before `until` (seconds)."""
        while self._waiting and self._waiting[0].start < until:
            packet = self._waiting.popleft().packet
            if self._stream is None:
                continue
            try:
                if self._resampler is None:
                    packet.stream = self._stream
                    self._container.mux(packet)
                else:
                    for frame in packet.decode():
                        self._encode(frame)
            except (pyav().FFmpegError, ValueError) as error:
                self._errors, self._cause = self._errors + 1, cause_of(error)

    def finish(self) -> None:
        """Write what encoders still hold. Packets that wait lie behind the last image, and are dropped."""
        if self._resampler is not None:
            try:
                for frame in (*self._source.codec_context.decode(None), None):
                    self._encode(frame)
                self._container.mux(self._stream.encode(None))
            except (pyav().FFmpegError, ValueError) as error:
                self._errors, self._cause = self._errors + 1, cause_of(error)
        if self._errors:
            log.warning("%d packets of the audio of %s are left out (%s).", self._errors, self._name, self._cause)

    def _encode(self, frame: Any) -> None:
        try:
            resampled = self._resampler.resample(frame)
        except ValueError:  # another rate or layout from here on
            self._resampler = self._new_resampler()
            resampled = self._resampler.resample(frame)
        for samples in resampled:
            if samples.pts is not None:  # the encoder refuses samples that overlap, as at a joint of recordings
                samples.pts = max(samples.pts, math.floor(self._end / samples.time_base))
                self._end = samples.pts * samples.time_base + Fraction(samples.samples, samples.sample_rate)
            self._container.mux(self._stream.encode(samples))

    def _new_resampler(self) -> Any:
        context = self._stream.codec_context
        return pyav().AudioResampler(context.format, context.layout, context.rate, frame_size=1024)


def _holds(format: str, source: Any) -> bool:
    """Return whether a container holds an audio stream unchanged; FFmpeg's tables do not say all, so it is tried."""
    av = pyav()
    if format == "mp4" and source.codec_context.codec.canonical_name not in _PLAYED_IN_MP4:
        return False
    try:
        with av.open(BytesIO(), "w", format=format) as trial:
            trial.add_stream_from_template(source)
            trial.start_encoding()
        return True
    except (av.FFmpegError, ValueError):
        return False


def _aac_stream(container: Any, source: Any) -> Any:
    context = source.codec_context
    if not context.rate or not context.layout.nb_channels:  # not even the decoder knows
        return None
    rate = min((rate for rate in _AAC_RATES if rate >= context.rate), default=_AAC_RATES[0])
    layout = _LAYOUTS.get(context.layout.nb_channels, "stereo")
    stream = container.add_stream("aac", rate=rate, layout=layout)
    stream.bit_rate = min(_BITS_PER_CHANNEL * stream.codec_context.layout.nb_channels, 6 * rate)
    return stream
