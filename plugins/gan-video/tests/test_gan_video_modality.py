"""The modality video: clips of films, animations and strips; what it writes; broken files."""

from __future__ import annotations

import contextlib
from pathlib import Path

import av
import numpy as np
import pytest
from gan.data.detect import find_modality
from gan.data.order import Order
from gan.data.packing import open_pack
from gan.errors import BadData
from gan.plugins.manager import Plugins
from gan.source import SourceFile, list_source
from gan_video.data.files import write_film
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


def test_frames_of_no_clip_are_not_converted(tmp_path, monkeypatch):
    """Clips of 3 frames with stride 2 that start every 6 frames have frames 0, 2 and 4 of each six; of 12 frames these
    are 6, and with windows every second one."""
    path = written(tmp_path, "mp4", frames=12)
    seen = []
    plain = VideoModality._array
    monkeypatch.setattr(VideoModality, "_array", lambda self, picture: seen.append(1) or plain(self, picture))
    assert len(opened(path, stride=2)) == 2
    assert len(seen) == 6
    (film,) = opened(path, stride=2, long="windows")
    assert len(seen) == 6 + len(film) == 12
    opened(path, stride=1, hop=9)
    assert len(seen) == 12 + 6  # 0, 1, 2 and 9, 10, 11


@pytest.mark.parametrize(("fit", "shape"), [("crop", (16, 16)), ("pad", (9, 16)), ("stretch", (16, 16))])
def test_large_films_are_averaged_while_they_are_converted(tmp_path, fit, shape):
    """A film of 128 x 72 pixels, left half dark, right half light, keeps its halves at 16 pixels."""
    picture = Image.new("RGB", (128, 72), (40, 40, 40))
    picture.paste((200, 200, 200), (64, 0, 128, 72))
    write_film([picture] * 3, tmp_path / "a.mp4", 10)
    (found,) = opened(tmp_path / "a.mp4", fit=fit)
    row = found[1, 0, 8].astype(int)
    np.testing.assert_allclose(row[[0, 6]], 40, atol=4)
    np.testing.assert_allclose(row[[9, 15]], 200, atol=4)
    assert (found[1, 0, :, 12] > 150).sum() == shape[0]


def numbered(folder, numbers, pattern="{:04d}.png"):
    """Grey pictures whose level is their number."""
    folder.mkdir(parents=True)
    for number in numbers:
        Image.new("RGB", (16, 16), (number,) * 3).save(folder / pattern.format(number))


@pytest.mark.parametrize("pattern", ["{:04d}.png", "shot-{}.png", "a{:02d}.jpg", "frame_{:d}.webp"])
def test_a_folder_of_numbered_pictures_is_a_film(tmp_path, pattern):
    """Nine pictures from 5 to 13 are three clips, in the order of their numbers, with zeros before them or not; a gap
    begins another film, and folders are classes as ever."""
    numbered(tmp_path / "left" / "one", range(5, 14), pattern)
    numbered(tmp_path / "right" / "two", [*range(3), *range(20, 23)], pattern)
    config = VideoConfig(resolution=16, frames=3, layout="frames", labels=True)
    pack = open_pack(tmp_path, VideoModality, config, "video", cache=tmp_path / "cache")
    rows = pack.take(np.arange(len(pack)))
    levels = rows["video"][:, :, 0, 8, 8].astype(int).tolist()
    found = sorted(zip(rows["label"].tolist(), levels, strict=True))
    wanted = [(0, [5, 6, 7]), (0, [8, 9, 10]), (0, [11, 12, 13]), (1, [0, 1, 2]), (1, [20, 21, 22])]
    np.testing.assert_allclose([row for _, row in found], [row for _, row in wanted], atol=2)
    assert [label for label, _ in found] == [label for label, _ in wanted]
    assert pack.skipped == {}


def test_folders_of_pictures_without_numbers_say_so(tmp_path):
    numbered(tmp_path / "a", [7])
    with pytest.raises(BadData, match="single picture"):
        opened(tmp_path / "a" / "0007.png", layout="frames")
    Image.new("RGB", (16, 16)).save(tmp_path / "a" / "title.png")
    with pytest.raises(BadData, match="names end in numbers"):
        opened(tmp_path / "a" / "title.png", layout="frames")
    with pytest.raises(BadData, match="layout=frames"):
        opened(tmp_path / "a" / "title.png")


def test_a_rate_chooses_the_stride_of_each_film(tmp_path):
    """Of 24 and of 48 frames a second, 12 are every second and every fourth."""
    (tmp_path / "b").mkdir()
    slow, fast = written(tmp_path, "mp4", frames=9, fps=24), written(tmp_path / "b", "mp4", frames=9, fps=48)
    for path, stride in ((slow, 2), (fast, 4)):
        np.testing.assert_array_equal(opened(path, rate=12)[0], opened(path, stride=stride)[0])
    files = list_source(tmp_path, VideoModality.suffixes).files
    assert VideoModality(VideoConfig(rate=12)).survey(files)["fps"] == pytest.approx(12)


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


def test_a_film_is_packed_once_and_shown_from_any_frame(tmp_path):
    """150 frames in parts of 64; each window is consecutive frames, and over some epochs nearly all starts occur."""
    frames = np.zeros((150, 1, 16, 16), np.uint8) + np.arange(150, dtype=np.uint8)[:, None, None, None]
    (tmp_path / "films").mkdir()
    VideoModality(VideoConfig(resolution=16, frames=150, channels=1)).write(
        {"video": frames}, tmp_path / "films" / "a", VideoOptions(format="apng")
    )
    config = VideoConfig(resolution=16, frames=8, channels=1, long="windows")
    pack = open_pack(tmp_path / "films", VideoModality, config, "video", cache=tmp_path / "cache")
    assert len(pack) == 150 // 8
    assert (pack.folder / "video.bin").stat().st_size == 150 * 16 * 16
    order, starts = Order(pack.sizes, 3, pack.windowed), set()
    for epoch in range(20):
        shown = pack.take(order.indices(epoch * len(pack), len(pack)))["video"]
        assert shown.shape == (18, 8, 1, 16, 16)
        levels = shown[:, :, 0, 0, 0].astype(int)
        assert (np.diff(levels, axis=1) == 1).all()
        starts.update(levels[:, 0].tolist())
    assert len(starts) > 100
    again = pack.take(Order(pack.sizes, 3, pack.windowed).indices(7, 5))["video"]
    np.testing.assert_array_equal(again, pack.take(order.indices(7, 5))["video"])


def test_every_stride_th_frame_of_a_film_is_packed_and_short_films_are_named(tmp_path):
    path = written(tmp_path, "apng", frames=7)
    (film,) = opened(path, frames=3, stride=2, long="windows")
    np.testing.assert_array_equal(film, clip(7)[::2])
    with pytest.raises(BadData, match="has 4 frames at modality.stride=2; a clip needs 5"):
        opened(path, frames=5, stride=2, long="windows")


def test_folders_of_pictures_are_not_taken_for_films(tmp_path):
    plugins = Plugins.installed()
    for name in ("a.png", "b.png"):
        Image.new("RGB", (8, 8)).save(tmp_path / name)
    assert find_modality(tmp_path, None, plugins).entry.name == "image"
    (tmp_path / "films").mkdir()
    written(tmp_path / "films", "mp4")
    assert find_modality(tmp_path / "films", None, plugins).entry.name == "video"
