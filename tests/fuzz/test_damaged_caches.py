"""Observation caches with damage of every kind: the right result, or one line that says what to do.

``SLM_EVAL_FUZZ=50`` damages 2,000 of them.
"""

from __future__ import annotations

import collections
import json
import os
import random
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from slm_eval.base.errors import SlmEvalError
from slm_eval.metrics.pjsd import pJSD
from slm_eval.observing.options import RunOptions
from slm_eval.run.evaluate import evaluate
from tests.conftest import noise
from tests.fakes import Loudness, SpellingObserver

TRIALS = 40 * int(os.environ.get("SLM_EVAL_FUZZ", "1"))


def flip_bits(path: Path, rng: random.Random) -> None:
    content = bytearray(path.read_bytes())
    for _ in range(rng.choice((1, 1, 2, 8, 64))):
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    path.write_bytes(content)


def flip_bits_of_the_header(path: Path, rng: random.Random) -> None:
    content = bytearray(path.read_bytes())
    content[rng.randrange(100)] ^= 1 << rng.randrange(8)
    path.write_bytes(content)


def cut(path: Path, rng: random.Random) -> None:
    os.truncate(path, rng.randrange(path.stat().st_size))


def overwrite(path: Path, rng: random.Random) -> None:
    content = bytearray(path.read_bytes())
    begin, length = rng.randrange(len(content)), rng.choice((16, 512, 4096))
    content[begin : begin + length] = rng.choice((bytes(length), rng.randbytes(length)))
    path.write_bytes(content)


def swap_pages(path: Path, rng: random.Random) -> None:
    content = path.read_bytes()
    pages = [content[at : at + 4096] for at in range(0, len(content), 4096)]
    one, other = rng.randrange(len(pages)), rng.randrange(len(pages))
    pages[one], pages[other] = pages[other], pages[one]
    path.write_bytes(b"".join(pages))


STATEMENTS = (
    "UPDATE observations SET value = replace(value, '{old}', '{new}')",
    "UPDATE observations SET value = substr(value, 1, {n})",
    "UPDATE observations SET value = CAST(value AS BLOB), checksum = NULL",
    "UPDATE observations SET value = '[]', checksum = ''",
    "UPDATE observations SET value = '{{}}'",
    "UPDATE observations SET value = x'ff00fe' WHERE rowid_of % 2",
    "UPDATE OR IGNORE observations SET fingerprint = {n}",
    "UPDATE OR IGNORE observations SET content = (SELECT max(content) FROM observations)",
    "UPDATE observations SET checksum = (SELECT min(checksum) FROM observations)",
    "UPDATE OR REPLACE fingerprints SET id = id + {n}",
    "UPDATE OR REPLACE fingerprints SET fingerprint = (SELECT max(fingerprint) FROM fingerprints)",
    "DELETE FROM fingerprints",
    "DELETE FROM observations",
    "DROP TABLE fingerprints",
    "DROP TABLE observations",
    "ALTER TABLE observations RENAME COLUMN value TO worth",
    "ALTER TABLE observations DROP COLUMN checksum",
    "PRAGMA user_version = {n}",
    "PRAGMA user_version = 0",
    "PRAGMA user_version = -{n}",
    "CREATE TRIGGER t BEFORE INSERT ON observations BEGIN SELECT RAISE(FAIL, 'no'); END",
    "CREATE VIEW v AS SELECT * FROM nothing",
    "PRAGMA encoding = 'UTF-16'",
    "PRAGMA journal_mode = WAL",
)


def by_sql(path: Path, rng: random.Random) -> None:
    statement = rng.choice(STATEMENTS).format(old=rng.randrange(10), new=rng.randrange(10), n=rng.randrange(1, 60))
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        connection.execute(statement.replace("rowid_of", "length(content)"))
        if rng.random() < 0.3:  # some rows, as if another program had been there
            connection.execute("DELETE FROM observations WHERE abs(random()) % 2")
    except sqlite3.Error:
        flip_bits(path, rng)  # this build of SQLite has no such statement, or the table is gone
    finally:
        connection.close()


DAMAGES: tuple[Callable[[Path, random.Random], None], ...] = (
    flip_bits, flip_bits, flip_bits_of_the_header, cut, overwrite, swap_pages, by_sql, by_sql,
)  # fmt: skip


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_damaged_caches(tmp_path: Path, write_wav: Callable[..., Path]) -> None:
    for at in range(12):
        write_wav(tmp_path / "x" / f"{at}.wav", noise(0.05 + 0.01 * at, seed=at))
    sides = (tmp_path / "x", tmp_path / "x")
    cache = tmp_path / "cache.sqlite"

    def result() -> str:
        metrics = [Loudness(), pJSD(n=1, recognizer=SpellingObserver())]
        evaluation = evaluate(*sides, metrics=metrics, options=RunOptions("cpu", workers=0, cache=cache))
        return json.dumps([evaluation.to_dict(), [clip.to_dict() for clip in evaluation.clips["real"]]])

    right = result()
    whole = cache.read_bytes()
    seen: collections.Counter[str] = collections.Counter()
    lines: list[str] = []
    for trial in range(TRIALS):
        rng = random.Random(trial)
        for left in tmp_path.glob("cache.sqlite*"):
            left.unlink()
        cache.write_bytes(whole)
        damage = rng.choice(DAMAGES)
        damage(cache, rng)
        try:
            assert result() == right, f"trial {trial}, {damage.__name__}: another result"
            seen["right"] += 1
            assert result() == right, f"trial {trial}, {damage.__name__}: another result afterwards"
        except SlmEvalError as error:
            lines.append(str(error))
    assert all("\n" not in line and ("SLM_EVAL_CACHE" in line or "delete it" in line) for line in lines), lines
    seen["one line"] = len(lines)
    print(dict(seen))
    assert seen["right"] > TRIALS / 10
    assert seen["one line"] > TRIALS / 10
