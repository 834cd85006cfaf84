"""What a file says of its own length, against what it holds.

libsndfile and ffmpeg read what is left of a file that was cut off as if it were whole. Most containers state how long
they are; this reads those statements, and nothing else: chunk sizes of RIFF, RIFX, RF64, Wave64, AIFF, CAF, VOC and
ISO media, the lengths in the headers of AU, NIST SPHERE, Matroska, ASF and of MP3's Xing frame, and the pages of Ogg.
docs/formats.md says, by format, which cuts that finds.

A writer that streams cannot know the length and states 0, or as much as fits: such a file is taken as it is.
"""

from __future__ import annotations

import os
import re
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import BinaryIO

# Steps of a walk along a file, so that one of a million empty chunks ends. A page of Ogg holds a second, if not less.
_MAX_STEPS = 1 << 20
# 32-bit sizes from here on say that the writer did not know (0x7FFFF000 of sox, 0xFFFFFFFF of ffmpeg, and others).
_UNKNOWN_32 = 0x7FFF0000


class DamagedError(Exception):
    """A file contradicts itself: one line that says where, without the file's name."""


@dataclass(frozen=True)
class Span:
    """A range of bytes of a file."""

    begin: int
    end: int


def check_length(file: BinaryIO) -> list[Span]:
    """Return the parts of a file that are each a recording of their own, in order.

    These are the links of a chained Ogg stream, and for all others one, the whole file.

    Raises:
        DamagedError: the file is shorter than it says, or pages of an Ogg stream are missing or damaged.
        OSError: it cannot be read.
    """
    size = os.fstat(file.fileno()).st_size
    file.seek(0)
    head = file.read(64)
    if head.startswith(b"OggS"):
        return ogg_links(file, size)
    for pattern, check in _CHECKS:
        if pattern.match(head):
            check(file, head, size)
    return [Span(0, size)]


def _refuse_short(stated: int, held: int) -> None:
    if held < stated:
        raise DamagedError(f"is truncated: it holds {held} of {stated} bytes of audio")


def _chunks(
    file: BinaryIO, size: int, offset: int, header: str, padding: int = 1, own: bool = False
) -> Iterator[tuple[bytes, int, int]]:
    """Yield the name, the beginning of the content and its stated size, of chunk after chunk.

    Args:
        offset: where the first one begins.
        header: of a chunk, for ``struct``: its name and its size.
        padding: chunks begin at multiples of it.
        own: whether a size covers the header too.
    """
    length = struct.calcsize(header)
    for _ in range(_MAX_STEPS):
        file.seek(offset)
        head = file.read(length)
        if len(head) < length:
            return
        name, stated = struct.unpack(header, head)
        content = stated - length if own else stated
        if content < 0:
            return  # nonsense, which the decoder will explain
        yield name, offset + length, content
        offset += length + content
        offset += -offset % padding
        if offset >= size:
            return
    raise DamagedError(f"has no audio in its first {_MAX_STEPS} chunks")


def _riff(file: BinaryIO, head: bytes, size: int) -> None:
    """Check WAV: RIFF and RIFX have 32-bit sizes, RF64 has a chunk ds64 for those that do not fit."""
    order = ">" if head.startswith(b"RIFX") else "<"
    wide = 0
    for name, offset, stated in _chunks(file, size, 12, order + "4sI", padding=2):
        if name == b"ds64" and stated >= 16:
            file.seek(offset + 8)
            (wide,) = struct.unpack("<Q", file.read(8).ljust(8, b"\0"))
        if name == b"data":
            if wide and stated == 0xFFFFFFFF:
                _refuse_short(0 if wide >= 1 << 63 else wide, size - offset)
            elif stated < _UNKNOWN_32:
                _refuse_short(stated, size - offset)
            return


def _wave64(file: BinaryIO, head: bytes, size: int) -> None:
    for name, offset, stated in _chunks(file, size, 40, "<16sQ", padding=8, own=True):
        if name.startswith(b"data"):
            if stated < 1 << 62:
                _refuse_short(stated, size - offset)
            return


def _iff(file: BinaryIO, head: bytes, size: int) -> None:
    """Check AIFF, AIFC and Amiga's SVX."""
    for name, offset, stated in _chunks(file, size, 12, ">4sI", padding=2):
        if name in {b"SSND", b"BODY"}:
            if stated < _UNKNOWN_32:
                _refuse_short(stated, size - offset)
            return


def _caf(file: BinaryIO, head: bytes, size: int) -> None:
    for name, offset, stated in _chunks(file, size, 8, ">4sQ"):
        if name == b"data":
            if stated < 1 << 63:  # -1: until the end
                _refuse_short(stated, size - offset)
            return


def _voc(file: BinaryIO, head: bytes, size: int) -> None:
    for _, offset, stated in _voc_blocks(file):
        _refuse_short(stated, size - offset)


def is_voc_in_pieces(file: BinaryIO) -> bool:
    """Return whether a VOC file has its sound in several blocks: libsndfile hears the headers between them too."""
    file.seek(0)
    head = file.read(22)
    return _VOC.match(head) is not None and sum(kind in (1, 2, 9) for kind, _, _ in _voc_blocks(file)) > 1


_VOC = re.compile(rb"Creative Voice File\x1a..", re.DOTALL)


def _voc_blocks(file: BinaryIO) -> Iterator[tuple[int, int, int]]:
    """Yield each block's kind, beginning and stated size, up to a one-byte terminator, which some writers leave out."""
    file.seek(20)
    offset = int.from_bytes(file.read(2), "little")
    for _ in range(_MAX_STEPS):
        file.seek(offset)
        block = file.read(4)
        if len(block) < 4 or block[0] == 0:
            return
        stated = int.from_bytes(block[1:], "little")
        yield block[0], offset + 4, stated
        offset += 4 + stated
    raise DamagedError(f"has no end in its first {_MAX_STEPS} blocks")


def _au(file: BinaryIO, head: bytes, size: int) -> None:
    offset, stated = struct.unpack_from(">II" if head.startswith(b".snd") else "<II", head, 4)
    if stated < _UNKNOWN_32:
        _refuse_short(stated, size - offset)


def _nist(file: BinaryIO, head: bytes, size: int) -> None:
    """Check NIST SPHERE: a header in text, whose length is its second line."""
    begin = re.match(rb"NIST_1A\s+(\d{1,9})\s", head)
    if begin is None:
        return
    offset = int(begin[1])
    file.seek(0)
    text = file.read(min(offset, 1 << 20))
    fields = dict(re.findall(rb"(?m)^(sample_count|channel_count|sample_n_bytes) -i (\d{1,18})\s*$", text))
    if b"sample_count" in fields:
        frame_size = int(fields.get(b"channel_count", 1)) * int(fields.get(b"sample_n_bytes", 1))
        _refuse_short(int(fields[b"sample_count"]) * frame_size, size - offset)


def _iso_media(file: BinaryIO, head: bytes, size: int) -> None:
    """Check MP4, M4A, MOV, 3GP: boxes. Size 1: in 64 bits behind the name; 0: until the end."""
    offset = 0
    for _ in range(_MAX_STEPS):
        file.seek(offset)
        box = file.read(16)
        if len(box) < 8:
            if box:
                raise DamagedError("is truncated: it ends within the header of a box")
            return
        stated = int.from_bytes(box[:4], "big")
        if stated == 1:
            stated = int.from_bytes(box[8:16].ljust(8, b"\0"), "big")
        if stated == 0:
            return
        if stated < 8:
            raise DamagedError(f"is damaged: a box of {stated} bytes at byte {offset}")
        if stated > size - offset:
            raise DamagedError(f"is truncated: it holds {size - offset} of {stated} bytes of its last box")
        offset += stated
    raise DamagedError(f"has no end in its first {_MAX_STEPS} boxes")


def _matroska(file: BinaryIO, head: bytes, size: int) -> None:
    """Check WebM and MKA: one element Segment behind the header."""
    offset = 4
    for first in (True, False):
        file.seek(offset)
        field = file.read(8).ljust(8, b"\0")
        width = 9 - field[0].bit_length()  # of a variable integer: leading zeros and one
        if width > 8:
            return
        value = int.from_bytes(field[:width], "big") & ((1 << 7 * width) - 1)
        offset += width
        if first:
            offset += value
            file.seek(offset)
            if file.read(4) != b"\x18\x53\x80\x67":
                return
            offset += 4
        elif value != (1 << 7 * width) - 1:  # all ones: not known
            _refuse_short(value, size - offset)


def _asf(file: BinaryIO, head: bytes, size: int) -> None:
    """Check WMA: objects with a GUID."""
    for name, offset, stated in _chunks(file, size, 0, "<16sQ", own=True):
        if name == _ASF_DATA:
            _refuse_short(stated, size - offset)
            return


_ASF_HEADER = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")
_ASF_DATA = bytes.fromhex("3626b2758e66cf11a6d900aa0062ce6c")


def _mp3(file: BinaryIO, head: bytes, size: int) -> None:
    """Check MP3: the first frame may hold, instead of sound, how many bytes there are, itself included."""
    offset, _, stated = _mp3_statement(file)
    if stated is not None:
        _refuse_short(stated, size - offset)


def mp3_states_frames(file: BinaryIO) -> bool:
    """Return whether an MP3 file states its number of frames."""
    return _mp3_statement(file)[1] is not None


def _mp3_statement(file: BinaryIO) -> tuple[int, int | None, int | None]:
    """Return where the first frame begins, and the numbers of frames and bytes that it states.

    They are in the tags of Xing (LAME, ffmpeg) and VBRI (Fraunhofer).
    """
    file.seek(0)
    head = file.read(10)
    offset = 0
    if head.startswith(b"ID3") and len(head) == 10:
        offset = 10 + sum((byte & 0x7F) << shift for byte, shift in zip(head[6:10], (21, 14, 7, 0), strict=True))
        offset += 10 if head[5] & 0x10 else 0  # a footer
    file.seek(offset)
    frame = file.read(64)
    if len(frame) < 64 or frame[0] != 0xFF or frame[1] & 0xE6 != 0xE2:  # layer III
        return offset, None, None
    if frame[36:40] == b"VBRI":
        size, frames = struct.unpack_from(">II", frame, 46)
        return offset, frames, size
    mpeg1, mono = frame[1] & 0x18 == 0x18, frame[3] & 0xC0 == 0xC0
    place = 4 + ((17 if mono else 32) if mpeg1 else (9 if mono else 17))
    if frame[place : place + 4] not in {b"Xing", b"Info"}:
        return offset, None, None
    has_frames, has_size = frame[place + 7] & 1, frame[place + 7] & 2
    numbers = list(struct.unpack_from(">II", frame, place + 8))
    return offset, numbers.pop(0) if has_frames else None, numbers.pop(0) if has_size else None


_CHECKS: tuple[tuple[re.Pattern[bytes], Callable[[BinaryIO, bytes, int], None]], ...] = (
    (_VOC, _voc),
    *(
        (re.compile(pattern, re.DOTALL), check)
        for pattern, check in (
            (rb"(RIFF|RIFX|RF64)....WAVE", _riff),
            (rb"riff\x2e\x91\xcf\x11\xa5\xd6\x28\xdb\x04\xc1\x00\x00", _wave64),
            (rb"FORM....(AIFF|AIFC|8SVX|16SV)", _iff),
            (rb"caff", _caf),
            (rb"(\.snd|dns\.).{8}", _au),
            (rb"NIST_1A", _nist),
            (rb"....ftyp", _iso_media),
            (rb"\x1a\x45\xdf\xa3", _matroska),
            (re.escape(_ASF_HEADER), _asf),
            (rb"ID3.{7}|\xff[\xe2-\xff]", _mp3),
        )
    ),
)

# Ogg, RFC 3533. A page: "OggS", version, flags, granule position, stream, number, checksum, number of segments.
_PAGE = struct.Struct("<4sBBqIIIB")
_FIRST, _LAST = 0x02, 0x04  # flags of the first and of the last page of a stream
_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


def ogg_links(file: BinaryIO, size: int) -> list[Span]:
    """Return where each link of an Ogg file begins and ends. Streams of one link lie between each other.

    Decoders pass over a page whose checksum is wrong, and over gaps, and play the rest: that would be a shorter clip.
    What follows behind the last link and is no page is not looked at.

    Raises:
        DamagedError: a page is cut off, damaged or missing, or a stream does not end.
    """
    links: list[Span] = []
    numbers: dict[int, int] = {}  # of the last page, by stream that has not ended
    begin = offset = 0
    for _ in range(_MAX_STEPS):
        file.seek(offset)
        head = file.read(_PAGE.size)
        if links and not numbers and not (head and b"OggS".startswith(head[:4])):
            return links
        if len(head) < _PAGE.size:
            raise DamagedError(f"is truncated: it ends at byte {size}, before the last page of its stream")
        mark, _, flags, _, stream, number, checksum, segments = _PAGE.unpack(head)
        if mark != b"OggS":
            raise DamagedError(f"is damaged: there is no Ogg page at byte {offset}, where the next one begins")
        table = file.read(segments)
        body = file.read(sum(table))
        if len(table) < segments or len(body) < sum(table):
            raise DamagedError(f"is truncated: it ends at byte {size}, within an Ogg page")
        if _checksum(head[:22] + bytes(4) + head[26:] + table + body) != checksum:
            raise DamagedError(f"is damaged: the checksum of the Ogg page at byte {offset} is wrong")
        if flags & _FIRST:
            numbers[stream] = number
        elif stream not in numbers or number != (numbers[stream] + 1) & 0xFFFFFFFF:
            raise DamagedError(f"is damaged: an Ogg page is missing before byte {offset}")
        numbers[stream] = number
        offset += len(head) + segments + len(body)
        if flags & _LAST:
            del numbers[stream]
            if not numbers:
                links.append(Span(begin, offset))
                begin = offset
    raise DamagedError(f"has no end in its first {_MAX_STEPS} Ogg pages")


def _checksum(page: bytes) -> int:
    """Return Ogg's CRC-32, whose bits are not reflected and nothing is inverted, by that of zlib."""
    reflected = zlib.crc32(page.translate(_REVERSED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int(f"{reflected:032b}"[::-1], 2)
