"""The modality video: clips of films, animations and strips; what it writes; broken files."""

from __future__ import annotations

import contextlib
from pathlib import Path

import av
import numpy as np
import pytest
from gan.errors import BadData
from gan.source import SourceFile, list_source
from gan_video.modality import VideoConfig, VideoModality, VideoOptions
from PIL import Image


def clip(frames=6, side=16):
    """Frame t is grey of level 10·t with one bright corner pixel."""
    found = np.zeros((frames, 3, side, side), np.uint8)
    found += (10 * np.arange(frames, dtype=np.uint8))[:, None, None, None]
    found[:, :, 0, 0] = 255
    return found


def opened(path: Path, **settings):
    modality = VideoModality(VideoConfig(**{"resolution": 16, "frames": 3, **settings}), {"fps": 10.0})
    return [s["video"] for s in modality.read(SourceFile(path.name, path, None, path.stat().st_size))]


def written(tmp_path, kind, frames=6, **options):
    modality = VideoModality(VideoConfig(resolution=16, frames=frames), {"fps": 10.0})
    return modality.write({"video": clip(frames)}, tmp_path / "a", VideoOptions(format=kind, **options))


@pytest.mark.parametrize("kind", ["webp", "apng"])
def test_lossless_formats_give_back_the_frames_in_clips(tmp_path, kind):
    """Six frames are two clips of three."""
    clips = opened(written(tmp_path, kind))
    np.testing.assert_array_equal(np.concatenate(clips), clip())


def test_films_give_back_the_levels(tmp_path):
    """H.264 at quality 18 keeps the mean level of flat frames to two of 255."""
    (found,) = opened(written(tmp_path, "mp4"), frames=6)
    np.testing.assert_allclose(found[..., 8:, 8:].mean((1, 2, 3)), 10 * np.arange(6), atol=2)


@pytest.mark.parametrize("kind", ["mp4", "gif", "webp", "apng", "strip"])
def test_equal_clips_give_equal_bytes(tmp_path, kind):
    (tmp_path / "b").mkdir()
    assert written(tmp_path, kind).read_bytes() == written(tmp_path / "b", kind).read_bytes()


def test_a_strip_is_read_from_left_to_right(tmp_path):
    path = written(tmp_path, "strip")
    assert Image.open(path).size == (96, 16)
    np.testing.assert_array_equal(np.concatenate(opened(path, layout="strips")), clip())
    with pytest.raises(BadData, match="layout=strips"):
        opened(path)


@pytest.mark.parametrize(
    ("settings", "starts", "step"),
    [({}, [0, 3], 1), ({"stride": 2}, [0], 2), ({"hop": 1}, [0, 1, 2, 3], 1), ({"stride": 2, "hop": 1}, [0, 1], 2)],
)
def test_clips_start_at_every_hop(tmp_path, settings, starts, step):
    """A clip of three frames with stride s is 2·s + 1 frames long."""
    found = opened(written(tmp_path, "webp"), **settings)
    assert [int(video[0, 0, 8, 8]) for video in found] == [10 * start for start in starts]
    assert all(int(video[1, 0, 8, 8]) - int(video[0, 0, 8, 8]) == 10 * step for video in found)


def test_the_frame_rate_of_the_data_is_that_of_what_is_written(tmp_path):
    written(tmp_path, "mp4", fps=25)
    files = list_source(tmp_path, VideoModality.suffixes).files
    assert VideoModality(VideoConfig()).survey(files)["fps"] == pytest.approx(25)
    assert VideoModality(VideoConfig(stride=5)).survey(files)["fps"] == pytest.approx(5)


@pytest.mark.rule("I1")
@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.mp4", b"", "cannot be decoded"),
        ("a.mp4", b"\0\0\0\x18ftypmp42" + bytes(64), "cannot be decoded"),
        ("a.gif", b"GIF89a\x01\0\x01\0", "still picture|not a PNG|cannot be decoded"),
        ("a.webp", b"RIFF\x04\0\0\0WEBP", "not a PNG"),
        ("a.png", b"\x89PNG\r\n\x1a\n", "not a PNG"),
    ],
)
def test_broken_files_are_named(tmp_path, name, content, reason):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(BadData, match=reason):
        opened(tmp_path / name)


def index_first(path):
    """The same film with its index before its frames, as films for the web are."""
    streamed = path.with_name("streamed.mp4")
    with av.open(str(path)) as film, av.open(str(streamed), "w", options={"movflags": "faststart"}) as copy:
        stream = copy.add_stream_from_template(film.streams.video[0])
        for packet in film.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                copy.mux(packet)
    return streamed.replace(path)


@pytest.mark.rule("I1")
@pytest.mark.parametrize("share", [0.3, 0.7, 0.95])
def test_a_truncated_film_gives_clips_of_the_whole_one_or_a_reason(tmp_path, share):
    """What is decoded of it are the first clips of the whole film, and never others."""
    path = index_first(written(tmp_path, "mp4", frames=30))
    whole, content = opened(path), path.read_bytes()
    assert len(whole) == 10
    path.write_bytes(content[: int(len(content) * share)])
    found, modality = [], VideoModality(VideoConfig(resolution=16, frames=3), {"fps": 10.0})
    with contextlib.suppress(BadData):
        for sample in modality.read(SourceFile(path.name, path, None, path.stat().st_size)):
            found.append(sample["video"])
    assert (0 < len(found) < len(whole)) == (share > 0.9)
    for first, second in zip(found, whole, strict=False):
        np.testing.assert_array_equal(first, second)


def test_a_film_that_is_too_short_says_so(tmp_path):
    with pytest.raises(BadData, match="has 6 frames; a clip needs 9"):
        opened(written(tmp_path, "webp"), frames=9)


def test_a_film_without_pictures_is_named(tmp_path):
    import av

    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), format="s16", layout="mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    with pytest.raises(BadData, match="no moving pictures"):
        opened(path)
