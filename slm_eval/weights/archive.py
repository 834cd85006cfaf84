"""Unpack an archive from the internet into a folder, and nowhere else.

Members are written by this module, not by tarfile: a member is a plain file or a folder inside the target, or the
whole archive is refused. Owners, permissions and times of the archive are not taken over. tarfile's own ``filter`` is
not relied on, because Python 3.10 may lack it, and because it lets links pass, which have led out of it before.
"""

from __future__ import annotations

import lzma
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import IO, cast

from slm_eval.base.errors import SlmEvalError

_BLOCK = 1 << 20
_MAX_MEMBERS = 10_000  # the largest archive that is known here, Allosaurus', has 2,188
_MAX_NAME, _MAX_DEPTH = 1024, 32
_MAX_HEADER = 1 << 20  # bytes of a member's name and attributes


def unpack(archive: Path, folder: Path, max_bytes: int) -> None:
    """Write the members of a tar archive (plain, gz, bz2 or xz) into ``folder``, which must not exist.

    Args:
        max_bytes: that all files together may have, unpacked.

    Raises:
        SlmEvalError: a member lies outside the folder, is a link or a device, comes twice, or is too large; or the
            archive is damaged. What was written before that is still in ``folder``.
        OSError: a file cannot be written.
    """
    folder.mkdir(parents=True)
    left, count = max_bytes, 0
    with _reading(archive):
        tar = tarfile.open(archive, tarinfo=_Member)  # noqa: SIM115 - closed below; only the reading blames the archive
    with tar:
        while (member := _next(archive, tar)) is not None:
            path = folder / _inside(archive, member)
            count += 1
            if count > _MAX_MEMBERS or not 0 <= member.size <= left:
                raise _refused(archive, f"it holds more than {_MAX_MEMBERS} files or {max_bytes / 1e6:.0f} MB")
            if member.isdir():
                path.mkdir(parents=True, exist_ok=True)
            else:
                _write(archive, tar, member, path)
                left -= member.size
        _read_to_the_end(archive, tar, left + _BLOCK)


class _Member(tarfile.TarInfo):
    """A member whose long name, or other extension of its header, is not read where it is far too long.

    tarfile reads those as they come, before anybody can look at them: a name of 1.5 GB took as much memory.
    """

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> _Member:
        member = super().frombuf(buf, encoding, errors)
        if member.type in _EXTENSIONS and not 0 <= member.size <= _MAX_HEADER:
            raise ValueError(f"a member's header has {member.size} bytes")
        return member


_EXTENSIONS = (
    tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE
)  # fmt: skip


@contextmanager
def _reading(archive: Path) -> Iterator[None]:
    """Turn what goes wrong inside into the archive's error; OSError too, since that is what gzip and bz2 raise."""
    try:
        yield
    except (tarfile.TarError, EOFError, zlib.error, lzma.LZMAError, OSError, ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())[:200]  # of several lines: what each kind of compression says
        raise SlmEvalError(f"the archive {archive.name} is damaged or cut ({reason}); download it again") from error


def _next(archive: Path, tar: tarfile.TarFile) -> tarfile.TarInfo | None:
    with _reading(archive):
        return tar.next()


def _inside(archive: Path, member: tarfile.TarInfo) -> PurePosixPath:
    """Return the member's path below the folder."""
    name = PurePosixPath(member.name)
    if len(member.name) > _MAX_NAME or len(name.parts) > _MAX_DEPTH:
        raise _refused(archive, f"its member {member.name[:40]!r}... has a name that is too long")
    windows = PureWindowsPath(member.name)
    if name.is_absolute() or windows.drive or windows.root or ".." in windows.parts or "\0" in member.name:
        raise _refused(archive, f"its member {member.name!r} lies outside its folder")
    if not (member.isfile() or member.isdir()):
        kind = "a link" if member.issym() or member.islnk() else "neither a file nor a folder"
        raise _refused(archive, f"its member {member.name!r} is {kind}")
    return name


def _write(archive: Path, tar: tarfile.TarFile, member: tarfile.TarInfo, path: Path) -> None:
    source = tar.extractfile(member)
    assert source is not None  # extractfile gives None for folders and devices only
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        target = path.open("xb")
    except FileExistsError:
        raise _refused(archive, f"its member {member.name!r} comes twice") from None
    with source, target:
        while block := _read(archive, source):
            target.write(block)


def _read_to_the_end(archive: Path, tar: tarfile.TarFile, max_bytes: int) -> None:
    """Read on: tarfile stops at the last member; the checksum that gz, bz2 and xz keep of them all comes after it."""
    stream = cast(IO[bytes], tar.fileobj)
    while block := _read(archive, stream):
        max_bytes -= len(block)
        if max_bytes < 0:
            raise _refused(archive, "too much follows its last member")


def _read(archive: Path, source: IO[bytes]) -> bytes:
    with _reading(archive):
        return source.read(_BLOCK)


def _refused(archive: Path, why: str) -> SlmEvalError:
    return SlmEvalError(f"the archive {archive.name} was refused: {why}; nothing of it is used, get it from its author")
