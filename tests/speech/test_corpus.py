"""Corpora: every format gives the same clips, and nothing is lost silently."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from slm_eval.base.errors import UsageError
from slm_eval.speech.corpus import Clip, load_corpus


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Audio by its name only: nothing is decoded here."""
    for name in ("b.wav", "a/x.flac", "a/y.OGG", "a/-dash.wav", "with space.mp3", "é.wav", "notes.txt", ".hidden.wav"):
        path = tmp_path / "corpus" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    hidden = tmp_path / "corpus" / ".git"
    hidden.mkdir()
    (hidden / "z.wav").write_bytes(b"x")
    return tmp_path / "corpus"


IDS = ["a/-dash.wav", "a/x.flac", "a/y.OGG", "b.wav", "with space.mp3", "é.wav"]


def test_folder_is_searched_recursively_in_the_order_of_ids(folder: Path) -> None:
    corpus = load_corpus(folder)
    assert [clip.id for clip in corpus.clips] == sorted(IDS) == IDS
    assert corpus.ignored == {"hidden": 2, ".txt": 1}
    assert all(clip.path == folder / clip.id for clip in corpus.clips)
    assert corpus.has_audio


def test_list_and_scp_and_manifest_agree_with_the_folder(folder: Path) -> None:
    listing = folder / "list.txt"
    listing.write_text("\n".join(reversed(IDS)) + "\n\n", encoding="utf-8")
    scp = folder / "wav.scp"
    scp.write_text("".join(f"utt{number} {name}\n" for number, name in enumerate(IDS)), encoding="utf-8")
    manifest = folder / "manifest.jsonl"
    manifest.write_text("".join(json.dumps({"id": name, "path": name}) + "\n" for name in IDS), encoding="utf-8")

    assert [clip.id for clip in load_corpus(listing).clips] == IDS
    assert [(clip.id, clip.path) for clip in load_corpus(scp).clips] == [
        (f"utt{number}", folder / name) for number, name in enumerate(IDS)
    ]
    assert [clip.id for clip in load_corpus(manifest).clips] == IDS


def test_list_of_absolute_paths_has_relative_ids(folder: Path, tmp_path: Path) -> None:
    listing = tmp_path / "list.lst"
    listing.write_text(f"{folder}/a/x.flac\n{folder}/b.wav\n", encoding="utf-8")
    assert [clip.id for clip in load_corpus(listing).clips] == ["a/x.flac", "b.wav"]


def test_manifest_segments_and_phones(tmp_path: Path) -> None:
    manifest = tmp_path / "m.jsonl"
    manifest.write_text('{"id": "1", "path": "a.wav", "start": 1, "end": 2.5}\n{"id": "0", "path": "/b.wav"}\n')
    assert load_corpus(manifest).clips == (
        Clip("0", Path("/b.wav")),
        Clip("1", tmp_path / "a.wav", start=1.0, end=2.5),
    )
    phones = tmp_path / "phones.jsonl"
    phones.write_text('{"id": "u", "phones": ["a", "b"], "seconds": 2}\n{"id": "t", "phones": []}\n')
    corpus = load_corpus(phones)
    assert [clip.phones for clip in corpus.clips] == [(), ("a", "b")]
    assert not corpus.has_audio


def test_lines_may_name_the_speaker_and_the_prompt(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    path.write_text('{"id": "0", "path": "a.wav", "speaker": "ann", "prompt": "p1"}\n{"id": "1", "path": "b.wav"}\n')
    assert [clip.labels for clip in load_corpus(path).clips] == [{"speaker": "ann", "prompt": "p1"}, {}]
    path.write_text('{"id": "0", "phones": ["a"], "prompt": "p1", "speaker": null}\n')
    assert load_corpus(path).clips == (Clip("0", phones=("a",), prompt="p1"),)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("x.jsonl", '{"id": "a"}', "line 1"),
        ("x.jsonl", '{"id": "a", "path": "a.wav"}\nnot json', "line 2"),
        (
            "x.jsonl",
            '{"id": "a", "path": "a.wav", "start": 3, "end": 1}',
            "0 <= start < end, got start 3.0 and end 1.0",
        ),
        ("x.jsonl", '{"id": 5, "path": "a.wav"}', "id must be a non-empty string, got 5"),
        ("x.jsonl", '{"id": "a", "phones": "abc"}', "phones must be a list of non-empty strings, got 'abc'"),
        ("x.jsonl", '{"id": "a", "path": "a.wav", "speaker": 7}', "speaker must be a non-empty string, got 7"),
        ("x.jsonl", "[1, 2]", "line 1"),
        ("x.jsonl", '{"id": "a", "path": "a.wav"}\n{"id": "b", "phones": ["a"]}', "mixes audio and ready-made phones"),
        ("x.jsonl", '{"id": "a", "path": "a.wav"}\n{"id": "a", "path": "b.wav"}', "ids occur more than once"),
        ("x.scp", "utt1", "expected 'utterance-id path'"),
        ("x.scp", "utt1 sox a.wav |", "commands are not run"),
        ("x.txt", "a.wav\na.wav", "ids occur more than once"),
        ("x.txt", "\n", "no audio"),
    ],
)
def test_a_bad_line_is_one_clear_line(tmp_path: Path, name: str, text: str, message: str) -> None:
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(UsageError) as error:
        load_corpus(path)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_no_such_path_and_a_folder_without_audio(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="does not exist"):
        load_corpus(tmp_path / "nowhere")
    (tmp_path / "readme.md").write_text("hello")
    with pytest.raises(UsageError, match=r"no audio in .* \(1 \.md\)"):
        load_corpus(tmp_path)


def test_links_that_loop_are_entered_once_and_dangling_ones_are_clips(folder: Path) -> None:
    (folder / "a" / "loop").symlink_to(folder, target_is_directory=True)
    (folder / "gone.wav").symlink_to(folder / "nowhere.wav")
    (folder / "self.wav").symlink_to(folder / "self.wav")
    corpus = load_corpus(folder)
    assert [clip.id for clip in corpus.clips] == sorted([*IDS, "gone.wav", "self.wav"])
    assert corpus.ignored["link_loop"] == 1


def test_a_linked_folder_is_searched(folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "far.wav").write_bytes(b"x")
    (folder / "link").symlink_to(other, target_is_directory=True)
    assert "link/far.wav" in [clip.id for clip in load_corpus(folder).clips]


def test_names_that_are_not_utf8_can_be_written(tmp_path: Path) -> None:
    with open(os.fsencode(tmp_path) + b"/\xff\xfe.wav", "wb") as file:
        file.write(b"x")
    (clip,) = load_corpus(tmp_path).clips
    assert clip.id == "\\xff\\xfe.wav"
    assert clip.path is not None
    assert clip.path.read_bytes() == b"x"


def test_limit_takes_the_first_ids(folder: Path) -> None:
    assert [clip.id for clip in load_corpus(folder).limit(2).clips] == IDS[:2]
    assert load_corpus(folder).limit(None).clips == load_corpus(folder).clips


HOSTILE_LINES = [
    (r'{"id": "\ud800", "path": "a.wav"}', "half of a character"),
    (r'{"id": "a\u0000", "path": "a.wav"}', "id must not hold a NUL"),
    (r'{"id": "a", "path": "a\u0000.wav"}', "path must not hold a NUL"),
    (r'{"id": "a", "path": "a.wav", "speaker": "\udc80"}', "half of a character"),
    (r'{"id": "a", "path": "a.wav", "prompt": "\u0000"}', "prompt must not hold a NUL"),
    (r'{"id": "a", "phones": ["\ud800"]}', "half of a character"),
    (r'{"id": "a", "phones": ["\u0000"]}', "a phone must not hold a NUL"),
    ('{"id": "a", "path": "a.wav", "start": Infinity}', "Infinity is not a finite number"),
    ('{"id": "a", "path": "a.wav", "end": NaN}', "NaN is not a finite number"),
    ('{"id": "a", "path": "a.wav", "end": 1e308}', r"end must be seconds from 0 to 1e\+09, got 1e\+308"),
    ('{"id": "a", "path": "a.wav", "end": 1' + 400 * "0" + "}", "has 401 digits, expected at most 300"),
    ('{"id": "a", "path": "a.wav", "end": 1' + 200 * "0" + "}", "end must be seconds"),
    ('{"id": "a", "path": "a.wav", "start": -1}', "start must be seconds"),
    ('{"id": "a", "path": "a.wav", "start": true}', "start must be seconds"),
    ('{"id": "a", "path": "a.wav", "start": "1.5"}', "start must be seconds"),
    ("[" * 200_000, "nested more than 64 deep"),
    ('{"id": "a", "phones": [], "seconds": "abc"}', "seconds must be seconds"),
    ('{"id": "a", "phones": [], "seconds": NaN}', "NaN is not a finite number"),
    ('{"id": "a", "phones": [], "seconds": -5}', "seconds must be seconds"),
    ('{"id": "a", "phones": [], "recognizer": []}', r"recognizer must be a non-empty string, got \[\]"),
    ('{"id": "a", "path": "a.wav", "id": "b"}', "the key 'id' is there twice"),
    ('{"id": "' + "x" * 300_000 + '", "path": "a.wav"}', "id must have at most 16384 bytes, got 300000"),
    ("1", "must hold a JSON object, got int"),
]


@pytest.mark.parametrize(("line", "said"), HOSTILE_LINES)
def test_a_hostile_line_is_refused_when_it_is_read(line: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    path.write_text('{"id": "fine", "path": "fine.wav"}\n' + line + "\n")
    with pytest.raises(UsageError, match=said) as caught:
        load_corpus(path)
    assert str(caught.value).startswith(f"{path}, line 2: ")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500


def test_names_with_other_line_ends_come_back(tmp_path: Path) -> None:
    """U+2028 and its like end lines for str.splitlines, and for nothing that writes these files."""
    names = [f"a{character}b.wav" for character in "\u2028\u2029\x85\x1c\x1d\x1e\x0b\x0c"]
    for name in names:
        (tmp_path / "corpus").mkdir(exist_ok=True)
        (tmp_path / "corpus" / name).write_bytes(b"x")
    ids = sorted(names)
    assert [clip.id for clip in load_corpus(tmp_path / "corpus").clips] == ids
    texts = {
        "list.txt": "".join(f"corpus/{name}\n" for name in names),
        "wav.scp": "".join(f"{name} corpus/{name}\n" for name in names),
        "m.jsonl": "".join(json.dumps({"id": n, "path": f"corpus/{n}"}, ensure_ascii=False) + "\n" for n in names),
        "phones.jsonl": "".join(json.dumps({"id": n, "phones": ["a"]}, ensure_ascii=False) + "\n" for n in names),
    }
    for name, text in texts.items():
        (tmp_path / name).write_text(text, encoding="utf-8", newline="")
        assert [clip.id for clip in load_corpus(tmp_path / name).clips] == ids, name


def test_ids_that_look_like_paths_are_names_and_nothing_else(tmp_path: Path) -> None:
    ids = [".", "..", "../x", "/etc/passwd", "a/", "C:\\x"]
    path = tmp_path / "m.jsonl"
    path.write_text("".join(json.dumps({"id": name, "path": "a.wav"}) + "\n" for name in ids))
    assert [clip.id for clip in load_corpus(path).clips] == sorted(ids)


def test_ten_thousand_links_in_circles_are_seen_once(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x.wav").write_bytes(b"x")
    for number in range(5_000):
        (tmp_path / "a" / f"to-b-{number}").symlink_to(tmp_path / "b")
        (tmp_path / "b" / f"to-a-{number}").symlink_to(tmp_path / "a")
    corpus = load_corpus(tmp_path)
    assert [clip.id for clip in corpus.clips] == ["a/x.wav", "b/x.wav"]
    assert corpus.ignored == {"link_loop": 10_000}


def test_a_link_above_the_corpus_does_not_bring_it_twice(tmp_path: Path) -> None:
    (tmp_path / "corpus" / "real").mkdir(parents=True)
    (tmp_path / "corpus" / "real" / "x.wav").write_bytes(b"x")
    (tmp_path / "other.wav").write_bytes(b"x")
    (tmp_path / "corpus" / "a-link-up").symlink_to(tmp_path)
    assert [clip.id for clip in load_corpus(tmp_path / "corpus").clips] == ["a-link-up/other.wav", "real/x.wav"]


def test_folders_in_folders_are_searched_to_any_depth(tmp_path: Path) -> None:
    """1,500 levels: more than Python's recursion allows, and no path as a whole that the kernel would not take."""
    folder = tmp_path
    for _ in range(1_500):
        folder = folder / "d"
        folder.mkdir()
    clip = folder / "x.wav"
    clip.write_bytes(b"x")
    try:
        assert [clip.id for clip in load_corpus(tmp_path).clips] == ["d/" * 1_500 + "x.wav"]
    finally:  # pytest removes old folders by recursion, and would end with an error days later
        clip.unlink()
        while folder != tmp_path:
            folder.rmdir()
            folder = folder.parent


def test_a_list_that_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    for name in ("list.txt", "wav.scp", "m.jsonl"):
        os.mkfifo(tmp_path / name)
        with pytest.raises(UsageError, match="is not a regular file"):
            load_corpus(tmp_path / name)


def test_a_folder_whose_own_name_is_not_utf8_can_be_written(tmp_path: Path) -> None:
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff"))
    folder.mkdir()
    (folder / "a.wav").write_bytes(b"x")
    load_corpus(folder).path.encode()
