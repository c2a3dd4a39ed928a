"""Colorize videos: smooth colors, unchanged sound and times, on pans and zooms over the samples."""

import inspect
import json
import struct
import subprocess
import sys
import warnings
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import Fake, until

from colorize import load_samples
from colorize.cli import _parser, main
from colorize.color.lab import rgb_to_lab, rgb_to_lightness
from colorize.inference.colorizer import ColorizeOptions, Colorizer
from colorize.io.image import photo_to_rgb, rgb_to_photo
from colorize.io.photo import read_rgb
from colorize.video.temporal_smoothing import TemporalSmoother, optical_flow

av = pytest.importorskip("av", reason="needs the extra video")
from make_sample_video import RATE, camera, gray, write_video  # noqa: E402, it needs av

from colorize.video.segments import Segment, SegmentStore  # noqa: E402
from colorize.video.writer import _interleave  # noqa: E402

CASES = Path(__file__).parent / "data" / "cases"


def clip(name, frames, zoom=False, size=(96, 128)):
    """Frames of a camera that pans over a sample photo, or moves into it."""
    photo = next(photo for photo in load_samples().photos if photo.id == name)
    return camera(read_rgb(photo.path), frames, zoom, size)


@pytest.fixture(scope="module")
def names():
    return [photo.id for photo in load_samples().photos[:4]]


def read_video(path):
    """Frames as rgb, their times, the packets of the audio, and properties of the stream."""
    with av.open(str(path)) as container:
        video = container.streams.video[0]
        frames = list(container.decode(video))
        rgb = [torch.from_numpy(f.to_ndarray(format="rgb24")).permute(2, 0, 1) for f in frames]
        times = [frame.time for frame in frames]
        properties = {
            "size": (video.height, video.width),
            "rate": video.average_rate,
            "seconds": video.duration and video.duration * video.time_base,
            "codec": video.codec_context.name,
        }
    with av.open(str(path)) as container:
        audio = container.streams.audio
        sound = [(p.pts, bytes(p)) for p in container.demux(audio) if p.size] if audio else None
    return rgb, times, sound, properties


@pytest.fixture
def colorizer():
    """A model whose color follows from the lightness."""
    network = Fake(lambda lightness: lightness * 0.05 + 0.05)
    return Colorizer(network, 64, "cpu", "fake")


@pytest.fixture
def colorize_video():
    from colorize.video.colorize_video import colorize_video

    return colorize_video


@pytest.fixture
def source_video(tmp_path, names):
    """A pan and a zoom over two photos, in gray."""
    frames = [*clip(names[0], 10), *clip(names[1], 10, zoom=True)]
    return write_video(tmp_path / "video.mp4", map(gray, frames))


def test_optical_flow_finds_how_far_the_picture_moved():
    rgb = read_rgb(load_samples().photos[0].path)
    lightness = rgb_to_lightness(rgb)
    current, previous = lightness[:, 20:276, 30:286], lightness[:, 18:274, 26:282]
    flow = optical_flow(previous, current)  # what is at (y, x) now was at (y + 2, x + 4)
    assert (flow[0, 30:-30, 30:-30] - 2).abs().median() < 0.1
    assert (flow[1, 30:-30, 30:-30] - 4).abs().median() < 0.1


def test_black_frames_have_no_optical_flow():
    assert (optical_flow(torch.full((1, 40, 50), -1.0), torch.full((1, 40, 50), -1.0)) == 0).all()


@pytest.mark.parametrize("zoom", [False, True])
def test_smoothed_colors_are_closer_to_the_ground_truth_than_the_predictions(names, zoom):
    """Predictions that vary by some units in large patches, as those of networks do."""
    smoother, errors = TemporalSmoother(), []
    for rgb in clip(names[2], 16, zoom):
        lightness, ab = rgb_to_lab(rgb)
        noise = F.interpolate(torch.randn(1, 2, 5, 5) * 0.06, ab.shape[1:], mode="bilinear")[0]
        smoothed = smoother(lightness, ab + noise)
        errors.append([(pred - ab).norm(dim=0).mean() for pred in (ab + noise, smoothed)])
    before, after = torch.tensor(errors)[4:].mean(0) * 110
    assert after < 0.65 * before
    assert smoother.shots == 1
    assert smoother.flicker[1] < 0.35 * smoother.flicker[0]


def test_the_flicker_of_a_still_picture_is_the_distance_of_its_colors():
    lightness, _ = rgb_to_lab(read_rgb(load_samples().photos[0].path))
    smoother = TemporalSmoother()
    for number in range(4):
        ab = torch.zeros(2, *lightness.shape[1:])
        ab[0] = 0.1 if number % 2 else 0.2  # 11 CIELAB units apart
        last = smoother(lightness, ab)
    assert smoother.flicker[0] == pytest.approx(11, abs=1e-3)
    # Of means over 1, 2, 3 and 4 frames: 22, 16.5, 18.33, 16.5.
    assert smoother.flicker[1] == pytest.approx((5.5 + 11 / 6 + 11 / 6) / 3, abs=1e-3)
    torch.testing.assert_close(last[0], torch.full_like(last[0], 0.15))


def test_shots_are_detected_and_their_colors_do_not_mix(names):
    smoother = TemporalSmoother()
    for number, name in enumerate(names):
        for rgb in clip(name, 5, zoom=number % 2 == 1):
            lightness, _ = rgb_to_lab(rgb)
            color = 0.1 * number
            smoothed = smoother(lightness, torch.full((2, *lightness.shape[1:]), color))
            torch.testing.assert_close(smoothed, torch.full_like(smoothed, color))
    assert (smoother.frames, smoother.shots) == (20, 4)
    assert smoother.flicker == pytest.approx((0, 0), abs=1e-3)


def test_disoccluded_regions_keep_their_own_colors():
    """Something dark moves away from the right quarter."""
    lightness = torch.rand(1, 64, 64) * 0.2
    lightness[..., 48:] += 0.6
    covered = lightness.clone()
    covered[..., 48:] = -1
    smoother = TemporalSmoother()
    for _ in range(5):
        smoother(covered, torch.full((2, 64, 64), 0.3))
    smoothed = smoother(lightness, torch.zeros(2, 64, 64))
    assert smoothed[..., 54:].abs().max() < 0.02
    assert smoothed[..., :20].mean() > 0.24


def test_without_momentum_each_frame_keeps_its_own_colors(names):
    smoother = TemporalSmoother(0)
    for rgb in clip(names[0], 3):
        lightness, ab = rgb_to_lab(rgb)
        assert torch.equal(smoother(lightness, ab), ab)
    assert smoother.flicker[0] == smoother.flicker[1]


@pytest.fixture
def moved(monkeypatch):
    """Set by how many pixels everything was further to the right, in frames of 32 x 40 px."""

    def by(pixels):
        flow = torch.stack((torch.zeros(32, 40), torch.full((32, 40), float(pixels))))
        monkeypatch.setattr("colorize.video.temporal_smoothing.optical_flow", lambda *_: flow)

    by(0)
    return by


def plain(tone, a):
    ab = torch.zeros(2, 32, 40)
    ab[0] = a
    return torch.full((1, 32, 40), tone), ab


def test_a_video_that_flickers_as_a_whole_is_one_shot(moved):
    smoother = TemporalSmoother()
    for number in range(4):
        smoothed = smoother(*plain(0.3 * (-1) ** number, 0.1 * (number % 2)))
    assert smoother.shots == 1
    torch.testing.assert_close(smoothed[0], torch.full((32, 40), 0.05))


def test_regions_from_outside_the_picture_keep_their_own_colors(moved):
    moved(10)
    smoother = TemporalSmoother()
    smoother(*plain(0.0, 0.4))
    smoothed = smoother(*plain(0.0, 0.2))[0]
    assert (smoothed[:, 30:] == 0.2).all()
    torch.testing.assert_close(smoothed[:, :30], torch.full((32, 30), 0.3))


def test_the_mean_restarts_where_the_content_changes(moved):
    smoother = TemporalSmoother()
    for right, color in ((-1.0, 0.3), (-1.0, 0.3), (-1.0, 0.3), (0.6, 0.0), (0.6, 0.2)):
        lightness, ab = plain(0.0, color)
        lightness[..., 30:] = right
        smoothed = smoother(lightness, ab)[0]
    torch.testing.assert_close(smoothed[:, 36:], torch.full((32, 4), 0.1))
    torch.testing.assert_close(smoothed[:, :20], torch.full((32, 20), (3 * 0.3 + 0.2) / 5))


def test_colors_are_carried_along_the_flow_and_what_comes_into_view_takes_its_surroundings(moved):
    smoother = TemporalSmoother()
    lightness, ab = plain(0.0, 0.4)
    ab[0, :, :20] = 0.2
    smoother(lightness, ab)
    moved(3)  # to the left; three columns come into view
    carried = smoother.propagate(lightness)[0]
    torch.testing.assert_close(carried[:, :17], torch.full((32, 17), 0.2))
    torch.testing.assert_close(carried[:, 17:37], torch.full((32, 20), 0.4))
    assert (carried[:, 37:] - 0.4).abs().max() < 0.02
    assert smoother.frames == 2


def test_a_frame_that_is_not_explained_has_no_carried_colors(moved):
    smoother = TemporalSmoother()
    assert smoother.propagate(plain(0.0, 0)[0]) is None
    smoother(*plain(0.0, 0.4))
    lightness, ab = plain(0.0, 0.2)
    lightness[..., :12] = 0.9
    assert smoother.propagate(lightness) is None
    smoothed = smoother(lightness, ab)[0]
    assert smoother.frames == 2 and (smoothed[:, :6] - 0.2).abs().max() < 1e-3
    torch.testing.assert_close(smoothed[:, 20:], torch.full((32, 20), 0.3))


@pytest.mark.parametrize(("changed", "shots"), [(8, 1), (24, 2)])
def test_a_shot_begins_where_less_than_half_is_unchanged(moved, changed, shots):
    smoother = TemporalSmoother()
    for a in (0.1, 0.2):
        lightness, ab = plain(0.0, a)
        lightness[..., :changed] = torch.rand(32, changed) * 2 - 1
        smoother(lightness, ab)
    assert smoother.shots == shots
    assert smoother.flicker[0] == pytest.approx(11 if shots == 1 else 0, abs=1e-3)


@pytest.mark.parametrize("momentum", [1, -0.1, float("nan")])
def test_a_momentum_out_of_range_is_rejected(momentum):
    with pytest.raises(ValueError, match="temporal smoothing must be from 0 to below 1"):
        TemporalSmoother(momentum)


def test_size_rate_length_lightness_and_sound_are_kept(
    source_video, tmp_path, colorizer, colorize_video
):
    target = tmp_path / "out" / "colored.mp4"
    report = colorize_video(colorizer, source_video, target, keyframe_interval=1)
    assert (report.frames, report.shots, report.damage) == (20, 2, "")
    before, times, sound, properties = read_video(source_video)
    after, new_times, new_sound, new_properties = read_video(target)
    assert [frame.shape for frame in after] == [(3, 96, 128)] * 20
    assert new_times == times and new_sound == sound and len(sound) > 10
    assert new_properties == properties and properties["rate"] == RATE
    for old, new in zip(before, after, strict=True):
        lightness, _ = rgb_to_lab(old)
        new_lightness, ab = rgb_to_lab(new)
        assert (new_lightness - lightness).abs().mean() * 50 < 1  # H.264 is lossy
        _, expected = rgb_to_lab(photo_to_rgb(colorizer(rgb_to_photo(old))))
        assert expected.mean() * 110 > 3
        assert (ab - expected).mean((1, 2)).abs().max() * 110 < 0.5
    assert [path.name for path in target.parent.iterdir()] == ["colored.mp4"]


def test_a_video_says_which_model_invented_its_colors(
    source_video, tmp_path, colorizer, colorize_video
):
    colorize_video(colorizer, source_video, tmp_path / "b.mkv")
    with av.open(str(tmp_path / "b.mkv")) as container:
        assert "the colors are invented by fake" in container.metadata["COMMENT"]


def test_languages_chapters_and_comments_are_kept(
    source_video, tmp_path, colorizer, colorize_video
):
    source = tmp_path / "described.mkv"
    with av.open(str(source_video)) as old, av.open(str(source), "w") as new:
        streams = {stream.index: new.add_stream_from_template(stream) for stream in old.streams}
        streams[1].metadata["language"] = "fra"
        new.metadata["comment"] = "of the attic"
        chapter = {"id": 1, "start": 0, "end": 400, "time_base": Fraction(1, 1000)}
        new.set_chapters([chapter | {"metadata": {"title": "Home"}}])
        for packet in old.demux():
            if packet.dts is not None:
                packet.stream = streams[packet.stream.index]
                new.mux(packet)
    colorize_video(colorizer, source, tmp_path / "b.mkv")
    with av.open(str(tmp_path / "b.mkv")) as container:
        assert container.streams.audio[0].metadata["language"] == "fra"
        assert [chapter["metadata"]["title"] for chapter in container.chapters()] == ["Home"]
        comment = container.metadata["COMMENT"]
    assert comment.startswith("of the attic; colorize: ") and "seed 0, 64 px" in comment


def test_a_title_of_any_bytes_is_kept_byte_for_byte(tmp_path, colorizer, colorize_video):
    source = tmp_path / "a.avi"
    with av.open(str(source), "w", metadata_encoding="latin-1") as new:
        new.metadata["title"] = "Großmutter"
        stream = new.add_stream("mpeg4", rate=5)
        stream.width = stream.height = 64
        for level in (60, 90, 120):
            frame = np.full((64, 64, 3), level, np.uint8)
            new.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        new.mux(stream.encode())
    for suffix in (".mkv", ".mp4"):
        colorize_video(colorizer, source, tmp_path / f"b{suffix}")
        with av.open(str(tmp_path / f"b{suffix}"), metadata_encoding="latin-1") as container:
            assert container.metadata["title"] == "Großmutter"


def test_audio_in_an_unknown_format_is_dropped_with_a_warning(
    names, tmp_path, colorizer, colorize_video
):
    source = write_video(tmp_path / "a.mkv", map(gray, clip(names[0], 3)))
    source.write_bytes(source.read_bytes().replace(b"A_AAC", b"A_XYZ"))
    with pytest.warns(UserWarning, match="audio in an unknown format cannot be copied"):
        colorize_video(colorizer, source, tmp_path / "b.mkv")
    assert read_video(tmp_path / "b.mkv")[2] is None


def test_a_variable_frame_rate_is_kept(names, tmp_path, colorizer, colorize_video):
    times = [0, 40, 45, 200, 210, 1200, 1201, 2000]
    source = write_video(tmp_path / "a.mkv", map(gray, clip(names[0], 8)), times)
    colorize_video(colorizer, source, tmp_path / "b.mkv")
    colorize_video(colorizer, source, tmp_path / "b.mp4")
    for name in ("b.mkv", "b.mp4"):
        new_times = read_video(tmp_path / name)[1]
        assert new_times == pytest.approx([time / 1000 for time in times], abs=1e-6)


def test_a_bare_stream_without_times_gets_them(names, tmp_path, colorizer, colorize_video):
    write_video(tmp_path / "a.h264", map(gray, clip(names[0], 6)), audio=None)
    report = colorize_video(colorizer, tmp_path / "a.h264", tmp_path / "b.mp4")
    assert (report.frames, report.damage) == (6, "")
    times = read_video(tmp_path / "b.mp4")[1]
    assert times == pytest.approx([number / RATE for number in range(6)])


@pytest.mark.parametrize("size", [(97, 128), (96, 127), (51, 33)])
def test_odd_sizes_stay(names, tmp_path, size, colorizer, colorize_video):
    source = write_video(tmp_path / "a.mp4", map(gray, clip(names[0], 3, size=size)), audio=None)
    colorize_video(colorizer, source, tmp_path / "b.mp4")
    after, _, sound, _ = read_video(tmp_path / "b.mp4")
    assert [frame.shape for frame in after] == [(3, *size)] * 3 and sound is None


def rotate(path, degrees, is_mirrored=False):
    """Set the clockwise rotation flag of an MP4, as phones do."""
    matrix = {0: (1, 0, 0, 1), 90: (0, 1, -1, 0), 180: (-1, 0, 0, -1), 270: (0, -1, 1, 0)}[degrees]
    a, b, c, d = (number << 16 for number in matrix)
    if is_mirrored:  # left and right, after the rotation
        a, c = -a, -c
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 4 + 40  # of the first track
    struct.pack_into(">9i", data, at, a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(data)


@pytest.mark.parametrize("is_mirrored", [False, True])
@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
def test_a_rotated_video_is_written_upright(
    names, tmp_path, degrees, is_mirrored, colorizer, colorize_video
):
    frames = [gray(rgb) for rgb in clip(names[0], 3)]
    source = write_video(tmp_path / "a.mp4", frames)
    rotate(source, degrees, is_mirrored)
    colorize_video(colorizer, source, tmp_path / "b.mp4")
    after, _, _, properties = read_video(tmp_path / "b.mp4")
    upright = torch.rot90(frames[0], -degrees // 90, (1, 2))  # clockwise
    upright = upright.flip(2) if is_mirrored else upright
    assert after[0].shape == upright.shape == (3, *properties["size"])
    difference = rgb_to_lightness(after[0]) - rgb_to_lightness(upright.contiguous())
    assert difference.abs().mean() * 50 < 1.5


@pytest.mark.parametrize(("degrees", "aspect"), [(0, Fraction(4, 3)), (90, Fraction(3, 4))])
def test_the_aspect_ratio_of_pixels_is_kept(
    names, tmp_path, degrees, aspect, colorizer, colorize_video
):
    source = tmp_path / "a.mp4"
    with av.open(str(source), "w") as out:
        video = out.add_stream("libx264", rate=RATE)
        video.width, video.height, video.pix_fmt = 128, 96, "yuv420p"
        video.codec_context.sample_aspect_ratio = Fraction(4, 3)
        for rgb in clip(names[0], 3):
            pixels = gray(rgb).permute(1, 2, 0).contiguous().numpy()
            out.mux(video.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        out.mux(video.encode())
    rotate(source, degrees)
    colorize_video(colorizer, source, tmp_path / "b.mp4")
    with av.open(str(tmp_path / "b.mp4")) as container:
        assert container.streams.video[0].sample_aspect_ratio == aspect


@pytest.mark.parametrize("suffix", [".mkv", ".mp4"])
def test_the_readable_part_of_a_truncated_video_is_colorized(
    names, tmp_path, suffix, colorizer, colorize_video
):
    source = tmp_path / f"a{suffix}"
    frames = [gray(rgb) for name in names for rgb in clip(name, 10)]
    if suffix == ".mp4":  # with its index in front, as for the web
        with_index = {"movflags": "faststart"}
        whole = write_video(tmp_path / "whole.mp4", frames)
        with av.open(str(whole)) as old, av.open(str(source), "w", options=with_index) as new:
            streams = {stream.index: new.add_stream_from_template(stream) for stream in old.streams}
            for packet in old.demux():
                if packet.dts is not None:
                    packet.stream = streams[packet.stream.index]
                    new.mux(packet)
    else:
        write_video(source, frames)
    data = source.read_bytes()
    source.write_bytes(data[: len(data) // 2])
    report = colorize_video(colorizer, source, tmp_path / "b.mp4")
    after, *_ = read_video(tmp_path / "b.mp4")
    assert 5 < report.frames < 35 and len(after) == report.frames
    assert "it ends after" in report.damage and "of 1.6 seconds" in report.damage


def test_damage_in_the_middle_is_reported(source_video, tmp_path, colorizer, colorize_video):
    data = bytearray(source_video.read_bytes())
    with av.open(str(source_video)) as container:
        packet = [p for p in container.demux(container.streams.video[0]) if p.size][4]
        data[packet.pos : packet.pos + packet.size] = b"\xff" * packet.size
    source_video.write_bytes(data)
    report = colorize_video(colorizer, source_video, tmp_path / "b.mp4")
    assert report.damage == "1 of 20 frames are missing"


def test_missing_frames_at_the_end_are_noticed(names, tmp_path, colorizer, colorize_video):
    frames = [gray(rgb) for name in names for rgb in clip(name, 12)]
    source = write_video(tmp_path / "a.mkv", frames)
    assert colorize_video(colorizer, source, tmp_path / "b.mkv").damage == ""
    data = source.read_bytes()
    source.write_bytes(data[: len(data) * 9 // 10])
    report = colorize_video(colorizer, source, tmp_path / "c.mkv")
    assert 36 < report.frames < 48 and "it ends after" in report.damage


@pytest.mark.parametrize("gop", [12, 100])
def test_a_video_trimmed_by_an_edit_list_is_complete(
    names, tmp_path, colorizer, colorize_video, gop
):
    """Phones trim like that: hidden frames before the cut stay, because others depend on them."""
    whole, source = tmp_path / "whole.mp4", tmp_path / "a.mp4"
    with av.open(str(whole), "w") as out:
        stream = out.add_stream("libx264", rate=25, options={"g": str(gop), "bf": "0"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for rgb in map(gray, clip(names[0], 30)):
            pixels = rgb[:, :48, :64].permute(1, 2, 0).contiguous().numpy()
            out.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        out.mux(stream.encode(None))
    hidden = {"avoid_negative_ts": "disabled"}
    with av.open(str(whole)) as old, av.open(str(source), "w", options=hidden) as new:
        stream = new.add_stream_from_template(old.streams.video[0])
        for packet in old.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                shift = round(10 / 25 / packet.time_base)
                packet.pts, packet.dts = packet.pts - shift, packet.dts - shift
                new.mux(packet)
    assert len(read_video(source)[0]) == 20
    report = colorize_video(colorizer, source, tmp_path / "b.mp4")
    assert (report.frames, report.damage) == (20, "")


def test_a_picture_that_begins_after_its_sound_is_complete(
    names, tmp_path, colorizer, colorize_video
):
    times = [1000 + 40 * number for number in range(10)]
    source = write_video(tmp_path / "a.mkv", map(gray, clip(names[0], 10)), times)
    report = colorize_video(colorizer, source, tmp_path / "b.mkv")
    assert (report.frames, report.damage) == (10, "")


def test_concatenated_videos_whose_times_restart(names, tmp_path, colorizer, colorize_video):
    source = write_video(tmp_path / "a.ts", map(gray, clip(names[0], 10)))
    source.write_bytes(source.read_bytes() * 2)
    report = colorize_video(colorizer, source, tmp_path / "b.mp4")
    after, times, sound, _ = read_video(tmp_path / "b.mp4")
    assert report.frames == len(after) == 20
    assert times == sorted(set(times))
    assert len(sound) > 1.8 * len(read_video(write_video(tmp_path / "c.mp4", after[:10]))[2])


def test_a_gap_in_a_broadcast_is_reported(names, tmp_path, colorizer, colorize_video):
    frames = [gray(rgb) for name in names[:2] for rgb in clip(name, 20)]
    source = write_video(tmp_path / "a.ts", frames)
    data = bytearray(source.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 4000] = bytes(4000)
    source.write_bytes(data)
    assert "damaged" in colorize_video(colorizer, source, tmp_path / "b.mp4").damage


def bad_video(kind, tmp_path, source_video):
    path = tmp_path / f"{kind}.mp4"
    if kind == "text":
        path.write_text("not a video")
    elif kind == "long text":  # FFmpeg renders text as a terminal would
        path = path.with_suffix(".txt")
        path.write_text("not a video\n" * 200)
    elif kind == "picture":
        path = path.with_suffix(".jpg")
        rgb_to_photo(torch.zeros(3, 40, 40, dtype=torch.uint8)).save(path)
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "without index":
        path.write_bytes(source_video.read_bytes()[:2000])
    elif kind == "sound":
        with av.open(str(path), "w") as out:
            tone = out.add_stream("aac", rate=48000, layout="mono")
            silence = av.AudioFrame.from_ndarray(
                np.zeros((1, 1024), np.float32), format="fltp", layout="mono"
            )
            silence.sample_rate = 48000
            out.mux(tone.encode(silence))
            out.mux(tone.encode())
    return path


@pytest.mark.parametrize(
    "kind, message",
    [
        ("text", "not a readable video"),
        ("empty", "not a readable video"),
        ("without index", "not a readable video"),
        ("sound", "has no video stream"),
        ("missing", "no such file"),
        ("long text", "is not a video; use `colorize photo` for pictures"),
        ("picture", "is not a video; use `colorize photo` for pictures"),
    ],
)
def test_files_that_are_no_videos_are_rejected(
    kind, message, tmp_path, source_video, colorizer, colorize_video
):
    source = bad_video(kind, tmp_path, source_video)
    with pytest.raises(ValueError, match=f"{source.name}.*{message}"):
        colorize_video(colorizer, source, tmp_path / "out" / "b.mp4")
    assert not (tmp_path / "out").exists()


def test_a_video_in_color_is_only_colorized_with_force(names, tmp_path, colorizer, colorize_video):
    source = write_video(tmp_path / "a.mp4", clip(names[0], 3))
    with pytest.raises(ValueError, match="already in color; use --force"):
        colorize_video(colorizer, source, tmp_path / "b.mp4")
    assert colorize_video(colorizer, source, tmp_path / "b.mp4", force=True).frames == 3


def test_a_video_with_less_than_half_in_color_is_colorized(
    names, tmp_path, colorizer, colorize_video
):
    source = tmp_path / "a.ts"  # of three, each with a key frame
    for number, name in enumerate(names[:3]):
        frames = clip(name, 5) if number == 2 else map(gray, clip(name, 5))
        segment = write_video(tmp_path / f"{number}.ts", frames)
        with source.open("ab") as file:
            file.write(segment.read_bytes())
    assert colorize_video(colorizer, source, tmp_path / "b.mp4").frames == 15


def test_an_impossible_target_is_rejected(source_video, tmp_path, colorizer, colorize_video):
    (tmp_path / "folder.mp4").mkdir()
    with pytest.raises(ValueError, match=r"b\.gif: unknown video format; use one of \.mp4"):
        colorize_video(colorizer, source_video, tmp_path / "b.gif")
    with pytest.raises(ValueError, match="would overwrite itself"):
        colorize_video(colorizer, source_video, source_video)
    with pytest.raises(ValueError, match="samples and hints apply to photos"):
        colorize_video(colorizer, source_video, tmp_path / "b.mp4", ColorizeOptions(samples=2))
    with pytest.raises(ValueError, match=r"folder\.mp4 is a folder; name a video in it"):
        colorize_video(colorizer, source_video, tmp_path / "folder.mp4")
    with pytest.raises(ValueError, match="is a folder; name a video in it"):
        colorize_video(colorizer, tmp_path, tmp_path / "b.mp4")
    with pytest.raises(ValueError, match="vividness, samples and uncertainty need a model"):
        colorize_video(colorizer, source_video, tmp_path / "b.mp4", ColorizeOptions(vividness=0.5))
    assert {path.name for path in tmp_path.iterdir()} == {"video.mp4", "folder.mp4"}


@pytest.mark.parametrize(
    ("name", "target", "codec", "is_lossless"),
    [
        ("film.wmv", "b.mkv", "aac", False),
        ("film.wmv", "b.webm", "opus", False),
        ("film-flac.mkv", "b.mov", "alac", True),
        ("film-flac.mkv", "b.mp4", "flac", True),
    ],
)
def test_audio_that_the_container_cannot_hold_is_encoded_anew_and_said(
    tmp_path, colorizer, colorize_video, name, target, codec, is_lossless
):
    def samples(path):
        with av.open(str(path)) as container:
            audio = container.streams.audio[0]
            frames = [frame.to_ndarray().ravel() for frame in container.decode(audio)]
            return np.concatenate(frames).astype(np.float64), audio.codec_context.name, audio.rate

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        colorize_video(colorizer, CASES / name, tmp_path / target)
    before, old_codec, rate = samples(CASES / name)
    after, new_codec, new_rate = samples(tmp_path / target)
    assert new_codec == codec
    messages = [str(warning.message) for warning in caught if "audio" in str(warning.message)]
    assert [f"audio ({old_codec}) cannot be stored" in text for text in messages] == (
        [] if codec == old_codec else [True]
    )
    if is_lossless:  # as 16 or as 32 bits
        scale = np.abs(after).max() / np.abs(before).max()
        assert scale in (1, 65536) and np.array_equal(after[: len(before)], before * scale)
    else:
        assert len(after) / new_rate == pytest.approx(len(before) / rate, abs=0.06)
        peaks = [np.sqrt(np.mean(values**2)) for values in (before, after)]
        assert peaks[1] == pytest.approx(peaks[0], rel=0.15)


def interlaced_frames(path):
    with av.open(str(path)) as container:
        video = container.streams.video[0]
        frames = list(container.decode(video))
        order = video.codec_context.field_order
        return (
            [frame.to_ndarray(format="gray") for frame in frames],
            [frame.interlaced_frame for frame in frames],
            int(order),
        )


def test_an_interlaced_video_stays_so_with_the_same_field_first(
    tmp_path, colorizer, colorize_video
):
    source, target = CASES / "film-interlaced.mpg", tmp_path / "b.mkv"
    colorize_video(colorizer, source, target)
    before, flags, order = interlaced_frames(source)
    after, new_flags, new_order = interlaced_frames(target)
    assert all(flags) and all(new_flags) and new_order == order == 2  # top field first
    for old, new in zip(before, after, strict=True):
        for field in (0, 1):
            assert np.abs(old[field::2].astype(int) - new[field::2]).mean() < 3


def test_the_rows_of_fields_are_interleaved_plane_by_plane():
    top, bottom = (np.arange(48, dtype=np.uint8).reshape(6, 8) + first for first in (0, 100))
    frame = _interleave(top, bottom)
    assert np.array_equal(frame[:8:2], top[:4]) and np.array_equal(frame[1:8:2], bottom[:4])
    chroma = frame[8:].reshape(2, 2, 2, 4)  # planes, rows, fields, columns
    assert np.array_equal(chroma[:, :, 0].ravel(), top[4:].ravel())
    assert np.array_equal(chroma[:, :, 1].ravel(), bottom[4:].ravel())


def test_a_video_is_deinterlaced_on_request(tmp_path, colorizer, colorize_video):
    source, target = CASES / "film-interlaced.mpg", tmp_path / "b.mkv"
    report = colorize_video(colorizer, source, target, deinterlace=True)
    before, _, _ = interlaced_frames(source)
    after, flags, _ = interlaced_frames(target)
    assert len(after) == len(before) == report.frames and not any(flags)

    def combing(frames):
        """How much rows differ from the mean of their neighbors."""
        return np.mean([np.abs(f[1:-1] - (f[:-2].astype(int) + f[2:]) / 2).mean() for f in frames])

    assert combing(after) < 0.8 * combing(before)
    with (
        pytest.warns(UserWarning, match="interlaced, which the output cannot be flagged as"),
        pytest.warns(UserWarning, match=r"audio \(mp2\) cannot be stored in webm"),
    ):
        colorize_video(colorizer, source, tmp_path / "b.webm")


def test_webm_keeps_audio_that_it_supports(names, tmp_path, colorizer, colorize_video):
    frames = map(gray, clip(names[0], 3))
    source = write_video(tmp_path / "a.mkv", frames, audio="libopus")
    colorize_video(colorizer, source, tmp_path / "b.webm")
    after, _, sound, properties = read_video(tmp_path / "b.webm")
    assert len(after) == 3 and sound == read_video(source)[2]
    assert properties["codec"] in ("vp9", "libvpx-vp9")


def test_an_interrupted_call_leaves_no_file(source_video, tmp_path, colorize_video):
    def stop(lightness):
        if len(network.seen) > 1:
            raise KeyboardInterrupt
        return 0.0

    network = Fake(stop)
    with pytest.raises(KeyboardInterrupt):
        colorize_video(
            Colorizer(network, 64, "cpu", "fake"), source_video, tmp_path / "out" / "b.mp4"
        )
    assert list((tmp_path / "out").iterdir()) == []


def test_a_terminated_command_leaves_no_file(names, tmp_path, model):
    source = write_video(tmp_path / "a.mp4", list(map(gray, clip(names[0], 10))) * 30)
    out = tmp_path / "out"
    command = [sys.executable, "-m", "colorize", "video", str(source), "-o", str(out / "b.mp4")]
    with subprocess.Popen([*command, "--model", str(model)], stderr=subprocess.PIPE) as process:
        until(lambda: out.is_dir() and list(out.iterdir()), 60)
        process.terminate()
        assert process.wait() == 143
    assert list(out.iterdir()) == []


@pytest.mark.filterwarnings("ignore:audio:UserWarning")  # WebM cannot hold it
@pytest.mark.parametrize("target", ["b.mp4", "b.mkv", "b.webm"])
def test_an_interrupted_video_goes_on_after_its_last_segment(
    names, tmp_path, colorize_video, monkeypatch, target
):
    monkeypatch.setattr("colorize.video.segments.FRAMES", 8)
    frames = [gray(rgb) for name in names[:3] for rgb in clip(name, 15)]
    source = write_video(tmp_path / "a.mp4", frames)

    class Interrupted(Exception):
        pass

    def rule(lightness):
        if len(network.seen) == stop_after:
            raise Interrupted
        return lightness * 0.05 + 0.05

    network, stop_after = Fake(rule), None
    options = {"keyframe_interval": 2}
    colorizer = Colorizer(network, 64, "cpu", "fake")
    whole = tmp_path / "whole" / target
    expected = colorize_video(colorizer, source, whole, **options)
    predictions = len(network.seen)
    assert list(whole.parent.iterdir()) == [whole]

    network.seen.clear()
    stop_after = 4
    resumed = tmp_path / "resumed" / target
    with pytest.raises(Interrupted):
        colorize_video(colorizer, source, resumed, **options)
    assert not resumed.exists() and len(list(resumed.parent.glob(".*/*.pt"))) >= 1
    network.seen.clear()
    stop_after = None
    assert colorize_video(colorizer, source, resumed, **options) == expected
    assert 0 < len(network.seen) < predictions
    assert list(resumed.parent.iterdir()) == [resumed]
    one, two = read_video(whole), read_video(resumed)
    assert one[1:] == two[1:] and all(map(torch.equal, one[0], two[0]))


def test_segments_of_other_options_or_another_source_are_not_taken_up(
    names, tmp_path, colorize_video, monkeypatch
):
    monkeypatch.setattr("colorize.video.segments.FRAMES", 8)
    source = write_video(tmp_path / "a.mp4", list(map(gray, clip(names[0], 20))))
    network = Fake()
    colorizer = Colorizer(network, 64, "cpu", "fake")
    store = SegmentStore(tmp_path / "b.mp4", "another key")
    store.add(Segment(8, [], {}))
    colorize_video(colorizer, source, tmp_path / "b.mp4", keyframe_interval=1)
    assert sum(map(len, network.seen)) == 20


def test_transparency_is_dropped_with_a_warning(tmp_path, colorizer, colorize_video):
    source = tmp_path / "a.mov"
    with av.open(str(source), "w") as out:
        stream = out.add_stream("qtrle", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "argb"
        picture = np.full((48, 64, 4), 90, np.uint8)
        for _ in range(3):
            frame = av.VideoFrame.from_ndarray(picture, format="rgba").reformat(format="argb")
            out.mux(stream.encode(frame))
        out.mux(stream.encode())
    with pytest.warns(UserWarning, match="transparency cannot be kept"):
        assert colorize_video(colorizer, source, tmp_path / "b.mp4").frames == 3


def test_few_frames_of_a_long_video_are_held_at_a_time(names, tmp_path, colorize_video):
    network = Fake()
    frames = list(map(gray, clip(names[0], 10))) * 3
    source = write_video(tmp_path / "a.mp4", frames)
    colorizer = Colorizer(network, 64, "cpu", "fake")
    colorize_video(colorizer, source, tmp_path / "b.mp4", keyframe_interval=1)
    assert sum(map(len, network.seen)) == 30 and max(map(len, network.seen)) <= 8


@pytest.mark.parametrize("interval", [2, 4, 11])
def test_key_frames_and_the_first_of_each_shot_are_predicted(
    names, tmp_path, colorize_video, interval
):
    network = Fake()
    frames = [gray(rgb) for name in names[:3] for rgb in clip(name, 10)]
    source = write_video(tmp_path / "a.mp4", frames)
    colorizer = Colorizer(network, 64, "cpu", "fake")
    result = colorize_video(colorizer, source, tmp_path / "b.mp4", keyframe_interval=interval)
    assert (result.frames, result.shots) == (30, 3)
    keys = set(range(0, 30, interval)) | {0, 10, 20}
    assert sum(map(len, network.seen)) == len(keys)
    network.seen.clear()
    colorize_video(
        colorizer, source, tmp_path / "c.mp4", keyframe_interval=interval, temporal_smoothing=0
    )
    assert sum(map(len, network.seen)) == 30
    with pytest.raises(ValueError, match="interval must be at least 1, got 0"):
        colorize_video(colorizer, source, tmp_path / "d.mp4", keyframe_interval=0)


def test_the_command_prints_the_flicker(source_video, tmp_path, model, capsys):
    target = tmp_path / "colored.mp4"
    call = ["video", str(source_video), "-o", str(target), "--model", str(model)]
    assert main(call) == 0
    out, _ = capsys.readouterr()
    assert f"{target}: 20 frames, 2 shots" in out and "without temporal smoothing" in out
    assert main(call) == 2
    assert "--overwrite to replace it" in capsys.readouterr().err
    assert main([*call, "--overwrite", "--json", "--temporal-smoothing", "0"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["frames"] == 20
    assert report["flicker_unsmoothed"] == report["flicker_smoothed"] > 0


def test_a_comparison_shows_both_and_a_sheet_the_shots(source_video, tmp_path, model, capsys):
    target = tmp_path / "b.mp4"
    call = ["video", str(source_video), "-o", str(target), "--model", str(model), "--compare"]
    assert main(call) == 0
    colored, times, _, _ = read_video(target)
    both, new_times, sound, properties = read_video(tmp_path / "b-compared.mp4")
    assert properties["size"] == (96, 256) and new_times == times and sound is None
    gray_frames, _, _, _ = read_video(source_video)
    for frame, old, new in zip(both, gray_frames, colored, strict=True):
        assert (frame[..., :128].int() - old).abs().float().mean() < 3
        assert (frame[..., 128:].int() - new).abs().float().mean() < 3
    sheet = read_rgb(tmp_path / "b-shots.jpg")
    assert sheet.shape == (3, 96, 2 * 128)
    for number, frame in enumerate((0, 10)):  # the first of each shot
        shown = sheet[..., number * 128 : (number + 1) * 128]
        assert (shown.int() - colored[frame]).abs().float().mean() < 6
    target.unlink()
    assert main(call) == 2 and "b-compared.mp4 already exists" in capsys.readouterr().err


def test_the_defaults_of_the_command_are_those_of_the_function(colorize_video):
    words = ["video", "a.mp4", "-o", "b.mp4"]
    args = vars(_parser(words).parse_args(words))
    parameters = inspect.signature(colorize_video).parameters
    for name in ("temporal_smoothing", "keyframe_interval"):
        assert args[name] == parameters[name].default


def test_the_status_of_the_command_reports_a_damaged_video(names, tmp_path, model, capsys):
    frames = [gray(rgb) for name in names for rgb in clip(name, 10)]
    source = write_video(tmp_path / "long.mkv", frames)
    source.write_bytes(source.read_bytes()[: source.stat().st_size // 2])
    call = ["video", str(source), "-o", str(tmp_path / "b.mkv"), "--model", str(model)]
    assert main(call) == 1
    assert "long.mkv is damaged: it ends after" in capsys.readouterr().err
