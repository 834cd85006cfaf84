"""What libsndfile cannot decode, through the program ffmpeg where it is there: m4a, aac, wma, webm, ...

ffmpeg is given an open file and never a name, reads no other file or address, and no playlist or script that could name
one; its time is limited, and what it writes is read block by block.
"""

from __future__ import annotations

import os
import re
import selectors
import shutil
import struct
import subprocess
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO

import numpy as np

from slm_eval.base.errors import AudioError

# Ends of names of what ffmpeg decodes.
_SUFFIXES = ".m4a .m4b .mp4 .mov .3gp .aac .wma .asf .webm .mka .mkv .amr .ac3 .wv .ape .tta .spx"
SUFFIXES = frozenset(_SUFFIXES.split(" "))
HEAD = 64  # bytes that ``is_for_it`` looks at
# How files of these kinds begin, whatever they are called: ISO media, Matroska, ASF, AAC (ADTS), AMR, WavPack, Monkey's
# Audio, True Audio; and Ogg and CAF whose codec is none of libsndfile's.
_MAGIC = re.compile(
    rb"....ftyp|\x1a\x45\xdf\xa3|\x30\x26\xb2\x75\x8e\x66\xcf\x11|\xff[\xf0\xf1\xf8\xf9]|#!AMR|wvpk|MAC |TTA1"
    rb"|OggS.{24}(?!\x01vorbis|OpusHead)|caff.{4}desc.{16}(?!lpcm|ulaw|alaw|alac)",
    re.DOTALL,
)
# How files begin that are libsndfile's whatever they are called: RIFF, RIFX, RF64, W64, FLAC, Ogg, AIFF, SVX, AU, CAF,
# NIST and VOC. MP3 is not among them: a raw stream of AAC or AC-3 may begin with the same tag.
_SNDFILE = re.compile(
    rb"RIF[FX]|RF64|riff\x2e\x91\xcf\x11|fLaC|OggS|FORM|\.snd|dns\.|caff|NIST_1A|Creative Voice File", re.DOTALL
)
# ffmpeg's names of the containers that it may take them for. No playlists, which name other files.
_DEMUXERS = "aac,mov,mp4,asf,matroska,webm,amr,ac3,eac3,wv,ape,tta,ogg,caf,voc"
_CPU_SECONDS = 10  # for any file, and one more a megabyte
_STALLED_SECONDS = 60.0  # without a byte, where the machine is busy with other things
_MAX_ALLOCATION = 1 << 28  # bytes that ffmpeg may ask for at once
INSTALL = "install it (apt install ffmpeg, brew install ffmpeg, conda install -c conda-forge ffmpeg)"


def is_for_it(path: Path, head: bytes) -> bool:
    """Return whether ffmpeg is the one to decode a file, by its first bytes or else by its name.

    The same file always has the same decoder: there is no second one that is tried when the first one fails. Files of
    equal bytes are decoded once, whatever their names are, so a name counts only where the bytes do not tell.
    """
    if _MAGIC.match(head):
        return True
    return not _SNDFILE.match(head) and path.suffix.lower() in SUFFIXES


def program(name: str = "ffmpeg") -> str | None:
    """Return where a program is, never in the current folder; None where it is not."""
    path = shutil.which(name)
    return path if path and os.path.isabs(path) else None


@lru_cache
def version(path: str) -> str:
    """Return the version that an ffmpeg gives itself, such as "6.1.1"."""
    output = subprocess.run([path, "-version"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True).stdout
    number = re.match(r"ffmpeg version (\S+)", output)
    return number[1] if number else "of unknown version"


def _input(file: BinaryIO) -> list[str]:
    """Return the arguments for reading an open file: no name, no protocol but files, and only those containers."""
    return [
        *("-protocol_whitelist", "file", "-format_whitelist", _DEMUXERS),
        *("-i", f"file:/dev/fd/{file.fileno()}"),
    ]


class Decoding:
    """A running ffmpeg that writes the first audio stream of a file as AU with 32-bit floats.

    Raises:
        AudioError: ffmpeg is not there, or finds no audio that it can decode.
    """

    def __init__(self, file: BinaryIO, name: str) -> None:
        path = program()
        if path is None:
            raise AudioError("decode_error", f"decoding {name} takes the program ffmpeg, which is not here; {INSTALL}")
        self._name = name
        self._said = b""
        self.version = version(path)
        size = os.fstat(file.fileno()).st_size
        os.lseek(file.fileno(), 0, os.SEEK_SET)
        self._process = subprocess.Popen(
            [
                *(path, "-nostdin", "-hide_banner", "-loglevel", "error", "-xerror"),
                *("-threads", "1", "-max_alloc", str(_MAX_ALLOCATION)),
                *("-timelimit", str(_CPU_SECONDS + size // 1_000_000)),
                *_input(file),
                *("-map", "0:a:0", "-map_metadata", "-1", "-c:a", "pcm_f32be", "-f", "au", "pipe:1"),
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            pass_fds=(file.fileno(),),
            start_new_session=True,
        )
        self._pipes = selectors.DefaultSelector()
        for pipe in (self._process.stdout, self._process.stderr):
            assert pipe is not None
            self._pipes.register(pipe, selectors.EVENT_READ)
        try:
            self.rate, self.channels = self._header()
        except BaseException:
            self.close()
            raise

    def _header(self) -> tuple[int, int]:
        head = self._read(24)
        if len(head) < 24:
            self._finish()
            raise AudioError("decode_error", f"ffmpeg finds no audio in {self._name}")
        _, offset, _, _, rate, channels = struct.unpack(">6I", head)
        self._read(offset - 24)
        return rate, channels

    def blocks(self, samples: int) -> Iterator[np.ndarray]:
        """Yield blocks of shape (frames, channels), float32, of so many samples of all channels.

        Raises:
            AudioError: ffmpeg ends with an error.
        """
        frame = 4 * self.channels
        while block := self._read(max(1, samples // self.channels) * frame):
            whole = len(block) // frame * frame
            yield np.frombuffer(block[:whole], dtype=">f4").reshape(-1, self.channels).astype(np.float32)
        self._finish()

    def _read(self, wanted: int) -> bytes:
        """Return so many bytes of the output, fewer at its end.

        What ffmpeg complains about is read beside, so that neither waits for the other, and only its beginning is kept.
        """
        held = bytearray()
        while len(held) < wanted and self._process.stdout in {key.fileobj for key in self._pipes.get_map().values()}:
            ready = self._pipes.select(_STALLED_SECONDS)
            if not ready:
                raise AudioError("decode_error", f"ffmpeg stalled on {self._name} for {_STALLED_SECONDS:.0f} s")
            for key, _ in ready:
                output = key.fileobj is self._process.stdout
                part = os.read(key.fd, min(wanted - len(held), 1 << 16) if output else 1 << 16)
                if not part:
                    self._pipes.unregister(key.fileobj)
                elif output:
                    held += part
                else:
                    self._said = (self._said + part)[:4_096]
        return bytes(held)

    def _finish(self) -> None:
        """Wait for the end, and raise what ffmpeg complained about."""
        try:
            _, rest = self._process.communicate(timeout=_STALLED_SECONDS)
        except subprocess.TimeoutExpired as error:
            raise AudioError("decode_error", f"ffmpeg does not end on {self._name}") from error
        if self._process.returncode:
            said = (self._said + rest).decode("utf-8", "replace").splitlines()
            said = said or [f"it ended with status {self._process.returncode}"]
            # "[aac @ 0x55d0c8a3b2c0] Input buffer exhausted": the address is another one each time.
            line = re.sub(r"^\[([^@\]]*) @ [^\]]*\]", r"\1:", said[0])
            raise AudioError("decode_error", f"ffmpeg cannot decode {self._name}: {line[:200]}")

    def close(self) -> None:
        """End ffmpeg, whatever it is doing."""
        self._process.kill()
        self._process.wait()
        self._pipes.close()
        for pipe in (self._process.stdout, self._process.stderr):
            assert pipe is not None
            pipe.close()


def duration(file: BinaryIO) -> float:
    """Return the seconds that a file's header states, by ffprobe; 0 where it or ffprobe does not say."""
    path = program("ffprobe")
    if path is None:
        return 0.0
    asked = ["-show_entries", "format=duration", "-of", "default=noprint_wrappers=1:nokey=1"]
    try:
        output = subprocess.run(
            [path, "-v", "error", *_input(file), *asked],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            pass_fds=(file.fileno(),),
            timeout=_STALLED_SECONDS,
        ).stdout
    except subprocess.TimeoutExpired:
        return 0.0
    number = re.match(rb"\d{1,9}(\.\d+)?\s", output)
    return float(number[0]) if number else 0.0
