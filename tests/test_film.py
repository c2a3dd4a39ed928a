"""Films: steady colors, sound and times kept; of clips that pan and zoom over the samples."""

import json
import struct
import subprocess
import sys
from fractions import Fraction

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import Fake, until

from colorize import load_samples
from colorize.cli import main
from colorize.color.lab import rgb_to_lab, rgb_to_lightness
from colorize.inference.colorizer import ColorizeOptions, Colorizer
from colorize.io.image import photo_to_rgb, read_rgb, rgb_to_photo
from colorize.video.temporal_smoothing import TemporalSmoother, optical_flow

av = pytest.importorskip("av", reason="needs the extra video")
from clip import RATE, camera, grey, write_film  # noqa: E402, it needs av


def clip(name, frames, zoom=False, size=(96, 128)):
    """Frames of a camera that pans over a sample photo, or moves into it."""
    photo = next(photo for photo in load_samples().photos if photo.id == name)
    return camera(read_rgb(photo.path), frames, zoom, size)


@pytest.fixture(scope="module")
def names():
    return [photo.id for photo in load_samples().photos[:4]]


def read_film(path):
    """Its frames as rgb, their times, the packets of its sound, and what it says of itself."""
    with av.open(str(path)) as film:
        video = film.streams.video[0]
        frames = list(film.decode(video))
        rgb = [torch.from_numpy(f.to_ndarray(format="rgb24")).permute(2, 0, 1) for f in frames]
        times = [frame.time for frame in frames]
        shown = {
            "size": (video.height, video.width),
            "rate": video.average_rate,
            "seconds": video.duration and video.duration * video.time_base,
            "codec": video.codec_context.name,
        }
    with av.open(str(path)) as film:
        audio = film.streams.audio
        sound = [(p.pts, bytes(p)) for p in film.demux(audio) if p.size] if audio else None
    return rgb, times, sound, shown


@pytest.fixture
def colorizer():
    """Paints each place by its lightness."""
    network = Fake(lambda lightness: lightness * 0.05 + 0.05)
    return Colorizer(network, 64, "cpu", "fake")


@pytest.fixture
def colorize_video():
    from colorize.video.colorize_video import colorize_video

    return colorize_video


@pytest.fixture
def film(tmp_path, names):
    """A pan and a zoom over two photos, in grey."""
    frames = [*clip(names[0], 10), *clip(names[1], 10, zoom=True)]
    return write_film(tmp_path / "film.mp4", map(grey, frames))


def test_motion_finds_how_far_the_picture_moved():
    rgb = read_rgb(load_samples().photos[0].path)
    lightness = rgb_to_lightness(rgb)
    now, past = lightness[:, 20:276, 30:286], lightness[:, 18:274, 26:282]
    flow = optical_flow(past, now)  # what is at (y, x) now was at (y + 2, x + 4)
    assert (flow[0, 30:-30, 30:-30] - 2).abs().median() < 0.1
    assert (flow[1, 30:-30, 30:-30] - 4).abs().median() < 0.1


def test_motion_of_black_is_none():
    assert (optical_flow(torch.full((1, 40, 50), -1.0), torch.full((1, 40, 50), -1.0)) == 0).all()


@pytest.mark.parametrize("zoom", [False, True])
def test_steady_colors_are_nearer_to_the_truth_than_what_was_painted(names, zoom):
    """A painter whose colors tremble by some units in large patches, as networks' do."""
    steady, errors = TemporalSmoother(), []
    for rgb in clip(names[2], 16, zoom):
        lightness, ab = rgb_to_lab(rgb)
        noise = F.interpolate(torch.randn(1, 2, 5, 5) * 0.06, ab.shape[1:], mode="bilinear")[0]
        found = steady(lightness, ab + noise)
        errors.append([(some - ab).norm(dim=0).mean() for some in (ab + noise, found)])
    painted, smoothed = torch.tensor(errors)[4:].mean(0) * 110
    assert smoothed < 0.65 * painted
    assert steady.shots == 1
    assert steady.flicker[1] < 0.35 * steady.flicker[0]


def test_the_flicker_of_a_still_picture_is_how_far_its_colors_jump():
    lightness, _ = rgb_to_lab(read_rgb(load_samples().photos[0].path))
    steady = TemporalSmoother()
    for number in range(4):
        ab = torch.zeros(2, *lightness.shape[1:])
        ab[0] = 0.1 if number % 2 else 0.2  # 11 CIELAB units apart
        last = steady(lightness, ab)
    assert steady.flicker[0] == pytest.approx(11, abs=1e-3)
    # Of means over 1, 2, 3 and 4 frames: 22, 16.5, 18.33, 16.5.
    assert steady.flicker[1] == pytest.approx((5.5 + 11 / 6 + 11 / 6) / 3, abs=1e-3)
    torch.testing.assert_close(last[0], torch.full_like(last[0], 0.15))


def test_shots_are_told_apart_and_their_colors_do_not_mix(names):
    steady = TemporalSmoother()
    for number, name in enumerate(names):
        for rgb in clip(name, 5, zoom=number % 2 == 1):
            lightness, _ = rgb_to_lab(rgb)
            color = 0.1 * number
            found = steady(lightness, torch.full((2, *lightness.shape[1:]), color))
            torch.testing.assert_close(found, torch.full_like(found, color))
    assert (steady.frames, steady.shots) == (20, 4)
    assert steady.flicker == pytest.approx((0, 0), abs=1e-3)


def test_what_comes_into_view_has_its_own_colors():
    """The right quarter is uncovered by something dark that goes away."""
    lightness = torch.rand(1, 64, 64) * 0.2
    lightness[..., 48:] += 0.6
    covered = lightness.clone()
    covered[..., 48:] = -1
    steady = TemporalSmoother()
    for _ in range(5):
        steady(covered, torch.full((2, 64, 64), 0.3))
    found = steady(lightness, torch.zeros(2, 64, 64))
    assert found[..., 54:].abs().max() < 0.02
    assert found[..., :20].mean() > 0.24


def test_without_memory_each_frame_keeps_its_own_colors(names):
    steady = TemporalSmoother(0)
    for rgb in clip(names[0], 3):
        lightness, ab = rgb_to_lab(rgb)
        assert torch.equal(steady(lightness, ab), ab)
    assert steady.flicker[0] == steady.flicker[1]


@pytest.fixture
def moved(monkeypatch):
    """Frames of 32 x 40 px, of which it is known how far to the right everything was."""

    def by(pixels):
        flow = torch.stack((torch.zeros(32, 40), torch.full((32, 40), float(pixels))))
        monkeypatch.setattr("colorize.video.temporal_smoothing.motion", lambda past, now: flow)

    by(0)
    return by


def plain(tone, a):
    ab = torch.zeros(2, 32, 40)
    ab[0] = a
    return torch.full((1, 32, 40), tone), ab


def test_a_film_that_flickers_as_a_whole_is_one_shot(moved):
    steady = TemporalSmoother()
    for number in range(4):
        found = steady(*plain(0.3 * (-1) ** number, 0.1 * (number % 2)))
    assert steady.shots == 1
    torch.testing.assert_close(found[0], torch.full((32, 40), 0.05))


def test_what_came_from_outside_the_picture_has_its_own_colors(moved):
    moved(10)
    steady = TemporalSmoother()
    steady(*plain(0.0, 0.4))
    found = steady(*plain(0.0, 0.2))[0]
    assert (found[:, 30:] == 0.2).all()
    torch.testing.assert_close(found[:, :30], torch.full((32, 30), 0.3))


def test_where_something_else_came_into_view_the_mean_begins_anew(moved):
    steady = TemporalSmoother()
    for right, color in ((-1.0, 0.3), (-1.0, 0.3), (-1.0, 0.3), (0.6, 0.0), (0.6, 0.2)):
        lightness, ab = plain(0.0, color)
        lightness[..., 30:] = right
        found = steady(lightness, ab)[0]
    torch.testing.assert_close(found[:, 36:], torch.full((32, 4), 0.1))
    torch.testing.assert_close(found[:, :20], torch.full((32, 20), (3 * 0.3 + 0.2) / 5))


@pytest.mark.parametrize(("changed", "shots"), [(8, 1), (24, 2)])
def test_where_less_than_half_is_as_before_another_shot_begins(moved, changed, shots):
    steady = TemporalSmoother()
    for a in (0.1, 0.2):
        lightness, ab = plain(0.0, a)
        lightness[..., :changed] = torch.rand(32, changed) * 2 - 1
        steady(lightness, ab)
    assert steady.shots == shots
    assert steady.flicker[0] == pytest.approx(11 if shots == 1 else 0, abs=1e-3)


@pytest.mark.parametrize("memory", [1, -0.1, float("nan")])
def test_a_memory_out_of_range_is_refused(memory):
    with pytest.raises(ValueError, match="steadiness must be from 0 to below 1"):
        TemporalSmoother(memory)


def test_a_film_keeps_size_rate_length_lightness_and_sound(
    film, tmp_path, colorizer, colorize_video
):
    target = tmp_path / "out" / "colored.mp4"
    report = colorize_video(colorizer, film, target)
    assert (report.frames, report.shots, report.damage) == (20, 2, "")
    before, times, sound, shown = read_film(film)
    after, new_times, new_sound, new_shown = read_film(target)
    assert [some.shape for some in after] == [(3, 96, 128)] * 20
    assert new_times == times and new_sound == sound and len(sound) > 10
    assert new_shown == shown and shown["rate"] == RATE
    for old, new in zip(before, after, strict=True):
        lightness, _ = rgb_to_lab(old)
        found, ab = rgb_to_lab(new)
        assert (found - lightness).abs().mean() * 50 < 1  # H.264 is lossy
        _, expected = rgb_to_lab(photo_to_rgb(colorizer(rgb_to_photo(old))))
        assert expected.mean() * 110 > 3
        assert (ab - expected).mean((1, 2)).abs().max() * 110 < 0.5
    assert [path.name for path in target.parent.iterdir()] == ["colored.mp4"]


def test_a_film_says_who_invented_its_colors(film, tmp_path, colorizer, colorize_video):
    colorize_video(colorizer, film, tmp_path / "b.mkv")
    with av.open(str(tmp_path / "b.mkv")) as found:
        assert "the colors are invented by fake" in found.metadata["COMMENT"]


def test_languages_chapters_and_comments_are_kept(film, tmp_path, colorizer, colorize_video):
    source = tmp_path / "told.mkv"
    with av.open(str(film)) as old, av.open(str(source), "w") as new:
        streams = {one.index: new.add_stream_from_template(one) for one in old.streams}
        streams[1].metadata["language"] = "fra"
        new.metadata["comment"] = "of the attic"
        part = {"id": 1, "start": 0, "end": 400, "time_base": Fraction(1, 1000)}
        new.set_chapters([part | {"metadata": {"title": "Home"}}])
        for packet in old.demux():
            if packet.dts is not None:
                packet.stream = streams[packet.stream.index]
                new.mux(packet)
    colorize_video(colorizer, source, tmp_path / "b.mkv")
    with av.open(str(tmp_path / "b.mkv")) as found:
        assert found.streams.audio[0].metadata["language"] == "fra"
        assert [one["metadata"]["title"] for one in found.chapters()] == ["Home"]
        told = found.metadata["COMMENT"]
    assert told.startswith("of the attic; colorize: ") and "seed 0, 64 px" in told


def test_sound_of_an_unknown_kind_is_left_out_aloud(names, tmp_path, colorizer, colorize_video):
    source = write_film(tmp_path / "a.mkv", map(grey, clip(names[0], 3)))
    source.write_bytes(source.read_bytes().replace(b"A_AAC", b"A_XYZ"))
    with pytest.warns(UserWarning, match="its sound of an unknown kind cannot be copied"):
        colorize_video(colorizer, source, tmp_path / "b.mkv")
    assert read_film(tmp_path / "b.mkv")[2] is None


def test_frames_at_any_distance_keep_their_times(names, tmp_path, colorizer, colorize_video):
    times = [0, 40, 45, 200, 210, 1200, 1201, 2000]
    source = write_film(tmp_path / "a.mkv", map(grey, clip(names[0], 8)), times)
    colorize_video(colorizer, source, tmp_path / "b.mkv")
    colorize_video(colorizer, source, tmp_path / "b.mp4")
    for name in ("b.mkv", "b.mp4"):
        found = read_film(tmp_path / name)[1]
        assert found == pytest.approx([time / 1000 for time in times], abs=1e-6)


def test_a_bare_stream_without_times_gets_them(names, tmp_path, colorizer, colorize_video):
    write_film(tmp_path / "a.h264", map(grey, clip(names[0], 6)), sound=None)
    report = colorize_video(colorizer, tmp_path / "a.h264", tmp_path / "b.mp4")
    assert (report.frames, report.damage) == (6, "")
    found = read_film(tmp_path / "b.mp4")[1]
    assert found == pytest.approx([number / RATE for number in range(6)])


@pytest.mark.parametrize("size", [(97, 128), (96, 127), (51, 33)])
def test_odd_sizes_stay(names, tmp_path, size, colorizer, colorize_video):
    source = write_film(tmp_path / "a.mp4", map(grey, clip(names[0], 3, size=size)), sound=None)
    colorize_video(colorizer, source, tmp_path / "b.mp4")
    after, _, sound, _ = read_film(tmp_path / "b.mp4")
    assert [some.shape for some in after] == [(3, *size)] * 3 and sound is None


def turned(path, degrees, is_mirrored=False):
    """Say in an MP4 that it is to be shown turned clockwise, as phones do."""
    matrix = {0: (1, 0, 0, 1), 90: (0, 1, -1, 0), 180: (-1, 0, 0, -1), 270: (0, -1, 1, 0)}[degrees]
    a, b, c, d = (number << 16 for number in matrix)
    if is_mirrored:  # left and right, after the turn
        a, c = -a, -c
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 4 + 40  # of the first track
    struct.pack_into(">9i", data, at, a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(data)


@pytest.mark.parametrize("is_mirrored", [False, True])
@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
def test_a_turned_film_is_set_upright(
    names, tmp_path, degrees, is_mirrored, colorizer, colorize_video
):
    frames = [grey(rgb) for rgb in clip(names[0], 3)]
    source = write_film(tmp_path / "a.mp4", frames)
    turned(source, degrees, is_mirrored)
    colorize_video(colorizer, source, tmp_path / "b.mp4")
    after, _, _, shown = read_film(tmp_path / "b.mp4")
    upright = torch.rot90(frames[0], -degrees // 90, (1, 2))  # clockwise
    upright = upright.flip(2) if is_mirrored else upright
    assert after[0].shape == upright.shape == (3, *shown["size"])
    difference = rgb_to_lightness(after[0]) - rgb_to_lightness(upright.contiguous())
    assert difference.abs().mean() * 50 < 1.5


@pytest.mark.parametrize(("degrees", "aspect"), [(0, Fraction(4, 3)), (90, Fraction(3, 4))])
def test_pixels_that_are_not_square_stay_so(
    names, tmp_path, degrees, aspect, colorizer, colorize_video
):
    source = tmp_path / "a.mp4"
    with av.open(str(source), "w") as out:
        video = out.add_stream("libx264", rate=RATE)
        video.width, video.height, video.pix_fmt = 128, 96, "yuv420p"
        video.codec_context.sample_aspect_ratio = Fraction(4, 3)
        for rgb in clip(names[0], 3):
            pixels = grey(rgb).permute(1, 2, 0).contiguous().numpy()
            out.mux(video.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        out.mux(video.encode())
    turned(source, degrees)
    colorize_video(colorizer, source, tmp_path / "b.mp4")
    with av.open(str(tmp_path / "b.mp4")) as found:
        assert found.streams.video[0].sample_aspect_ratio == aspect


@pytest.mark.parametrize("suffix", [".mkv", ".mp4"])
def test_of_a_cut_film_what_can_be_read_is_colored_and_the_rest_named(
    names, tmp_path, suffix, colorizer, colorize_video
):
    source = tmp_path / f"a{suffix}"
    frames = [grey(rgb) for name in names for rgb in clip(name, 10)]
    if suffix == ".mp4":  # with its index in front, as for the web
        with_index = {"movflags": "faststart"}
        whole = write_film(tmp_path / "whole.mp4", frames)
        with av.open(str(whole)) as old, av.open(str(source), "w", options=with_index) as new:
            streams = {one.index: new.add_stream_from_template(one) for one in old.streams}
            for packet in old.demux():
                if packet.dts is not None:
                    packet.stream = streams[packet.stream.index]
                    new.mux(packet)
    else:
        write_film(source, frames)
    data = source.read_bytes()
    source.write_bytes(data[: len(data) // 2])
    report = colorize_video(colorizer, source, tmp_path / "b.mp4")
    after, *_ = read_film(tmp_path / "b.mp4")
    assert 5 < report.frames < 35 and len(after) == report.frames
    assert "it breaks off after" in report.damage and "of 1.6 seconds" in report.damage


def test_damage_in_the_middle_is_named(film, tmp_path, colorizer, colorize_video):
    data = bytearray(film.read_bytes())
    with av.open(str(film)) as found:
        packet = [p for p in found.demux(found.streams.video[0]) if p.size][4]
        data[packet.pos : packet.pos + packet.size] = b"\xff" * packet.size
    film.write_bytes(data)
    report = colorize_video(colorizer, film, tmp_path / "b.mp4")
    assert report.damage == "1 of 20 frames are missing"


def test_a_few_frames_at_the_end_are_missed(names, tmp_path, colorizer, colorize_video):
    frames = [grey(rgb) for name in names for rgb in clip(name, 12)]
    source = write_film(tmp_path / "a.mkv", frames)
    assert colorize_video(colorizer, source, tmp_path / "b.mkv").damage == ""
    data = source.read_bytes()
    source.write_bytes(data[: len(data) * 9 // 10])
    report = colorize_video(colorizer, source, tmp_path / "c.mkv")
    assert 36 < report.frames < 48 and "it breaks off after" in report.damage


@pytest.mark.parametrize("gop", [12, 100])
def test_a_film_trimmed_by_an_edit_list_is_whole(names, tmp_path, colorizer, colorize_video, gop):
    """As phones trim: frames before the cut stay in the file, hidden, for those that need them."""
    whole, source = tmp_path / "whole.mp4", tmp_path / "a.mp4"
    with av.open(str(whole), "w") as out:
        stream = out.add_stream("libx264", rate=25, options={"g": str(gop), "bf": "0"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for rgb in map(grey, clip(names[0], 30)):
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
    assert len(read_film(source)[0]) == 20
    report = colorize_video(colorizer, source, tmp_path / "b.mp4")
    assert (report.frames, report.damage) == (20, "")


def test_a_picture_that_begins_after_its_sound_is_whole(names, tmp_path, colorizer, colorize_video):
    times = [1000 + 40 * number for number in range(10)]
    source = write_film(tmp_path / "a.mkv", map(grey, clip(names[0], 10)), times)
    report = colorize_video(colorizer, source, tmp_path / "b.mkv")
    assert (report.frames, report.damage) == (10, "")


def test_a_film_joined_of_two_whose_times_begin_anew(names, tmp_path, colorizer, colorize_video):
    source = write_film(tmp_path / "a.ts", map(grey, clip(names[0], 10)))
    source.write_bytes(source.read_bytes() * 2)
    report = colorize_video(colorizer, source, tmp_path / "b.mp4")
    after, times, sound, _ = read_film(tmp_path / "b.mp4")
    assert report.frames == len(after) == 20
    assert times == sorted(set(times))
    assert len(sound) > 1.8 * len(read_film(write_film(tmp_path / "c.mp4", after[:10]))[2])


def test_a_gap_of_a_broadcast_is_named(names, tmp_path, colorizer, colorize_video):
    frames = [grey(rgb) for name in names[:2] for rgb in clip(name, 20)]
    source = write_film(tmp_path / "a.ts", frames)
    data = bytearray(source.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 4000] = bytes(4000)
    source.write_bytes(data)
    assert "damaged" in colorize_video(colorizer, source, tmp_path / "b.mp4").damage


def bad_film(kind, tmp_path, film):
    path = tmp_path / f"{kind}.mp4"
    if kind == "text":
        path.write_text("no film")
    elif kind == "long text":  # which FFmpeg shows as a terminal would
        path = path.with_suffix(".txt")
        path.write_text("no film\n" * 200)
    elif kind == "picture":
        path = path.with_suffix(".jpg")
        rgb_to_photo(torch.zeros(3, 40, 40, dtype=torch.uint8)).save(path)
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "without index":
        path.write_bytes(film.read_bytes()[:2000])
    elif kind == "sound":
        with av.open(str(path), "w") as out:
            tone = out.add_stream("aac", rate=48000, layout="mono")
            some = av.AudioFrame.from_ndarray(
                np.zeros((1, 1024), np.float32), format="fltp", layout="mono"
            )
            some.sample_rate = 48000
            out.mux(tone.encode(some))
            out.mux(tone.encode())
    return path


@pytest.mark.parametrize(
    "kind, message",
    [
        ("text", "no film that can be read"),
        ("empty", "no film that can be read"),
        ("without index", "no film that can be read"),
        ("sound", "there is no moving picture in it"),
        ("missing", "there is no such file"),
        ("long text", "no film; pictures are for `colorize photo`"),
        ("picture", "no film; pictures are for `colorize photo`"),
    ],
)
def test_what_is_no_film_is_named(kind, message, tmp_path, film, colorizer, colorize_video):
    source = bad_film(kind, tmp_path, film)
    with pytest.raises(ValueError, match=f"{source.name}.*{message}"):
        colorize_video(colorizer, source, tmp_path / "out" / "b.mp4")
    assert not (tmp_path / "out").exists()


def test_a_film_in_color_is_left_alone_unless_forced(names, tmp_path, colorizer, colorize_video):
    source = write_film(tmp_path / "a.mp4", clip(names[0], 3))
    with pytest.raises(ValueError, match="in color already; --force"):
        colorize_video(colorizer, source, tmp_path / "b.mp4")
    assert colorize_video(colorizer, source, tmp_path / "b.mp4", force=True).frames == 3


def test_a_film_of_which_less_than_half_is_in_color_is_colored(
    names, tmp_path, colorizer, colorize_video
):
    source = tmp_path / "a.ts"  # of three, each with a key frame
    for number, name in enumerate(names[:3]):
        frames = clip(name, 5) if number == 2 else map(grey, clip(name, 5))
        part = write_film(tmp_path / f"{number}.ts", frames)
        with source.open("ab") as film:
            film.write(part.read_bytes())
    assert colorize_video(colorizer, source, tmp_path / "b.mp4").frames == 15


def test_a_target_that_cannot_be_is_refused(film, tmp_path, colorizer, colorize_video):
    (tmp_path / "folder.mp4").mkdir()
    with pytest.raises(ValueError, match=r"b\.gif: unknown kind of film; use one of \.mp4"):
        colorize_video(colorizer, film, tmp_path / "b.gif")
    with pytest.raises(ValueError, match="would be replaced by its own colors"):
        colorize_video(colorizer, film, film)
    with pytest.raises(ValueError, match="samples and hints are for photos"):
        colorize_video(colorizer, film, tmp_path / "b.mp4", ColorizeOptions(samples=2))
    with pytest.raises(ValueError, match=r"sound \(aac\) cannot be kept in webm; in .mkv it can"):
        colorize_video(colorizer, film, tmp_path / "b.webm")
    with pytest.raises(ValueError, match=r"folder\.mp4 is a folder; name a film in it"):
        colorize_video(colorizer, film, tmp_path / "folder.mp4")
    with pytest.raises(ValueError, match="is a folder; name a film in it"):
        colorize_video(colorizer, tmp_path, tmp_path / "b.mp4")
    with pytest.raises(ValueError, match="vividness, samples and uncertainty need a network"):
        colorize_video(colorizer, film, tmp_path / "b.mp4", ColorizeOptions(vividness=0.5))
    assert {path.name for path in tmp_path.iterdir()} == {"film.mp4", "folder.mp4"}


def test_webm_with_sound_that_fits(names, tmp_path, colorizer, colorize_video):
    frames = map(grey, clip(names[0], 3))
    source = write_film(tmp_path / "a.mkv", frames, sound="libopus")
    colorize_video(colorizer, source, tmp_path / "b.webm")
    after, _, sound, shown = read_film(tmp_path / "b.webm")
    assert len(after) == 3 and sound == read_film(source)[2]
    assert shown["codec"] in ("vp9", "libvpx-vp9")


def test_a_film_that_is_stopped_leaves_nothing(film, tmp_path, colorize_video):
    def stop(lightness):
        if len(network.seen) > 1:
            raise KeyboardInterrupt
        return 0.0

    network = Fake(stop)
    with pytest.raises(KeyboardInterrupt):
        colorize_video(Colorizer(network, 64, "cpu", "fake"), film, tmp_path / "out" / "b.mp4")
    assert list((tmp_path / "out").iterdir()) == []


def test_the_command_that_is_ended_leaves_nothing(names, tmp_path, model):
    source = write_film(tmp_path / "a.mp4", list(map(grey, clip(names[0], 10))) * 30)
    out = tmp_path / "out"
    command = [sys.executable, "-m", "colorize", "video", str(source), "-o", str(out / "b.mp4")]
    with subprocess.Popen([*command, "--model", str(model)], stderr=subprocess.PIPE) as process:
        until(lambda: out.is_dir() and list(out.iterdir()), 60)
        process.terminate()
        assert process.wait() == 143
    assert list(out.iterdir()) == []


def test_transparency_is_left_out_aloud(tmp_path, colorizer, colorize_video):
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


def test_of_a_long_film_few_frames_wait_at_a_time(names, tmp_path, colorize_video):
    network = Fake()
    frames = list(map(grey, clip(names[0], 10))) * 3
    source = write_film(tmp_path / "a.mp4", frames)
    colorize_video(Colorizer(network, 64, "cpu", "fake"), source, tmp_path / "b.mp4")
    assert sum(map(len, network.seen)) == 30 and max(map(len, network.seen)) <= 8


def test_the_command_says_how_steady_the_colors_are(film, tmp_path, model, capsys):
    target = tmp_path / "colored.mp4"
    call = ["video", str(film), "-o", str(target), "--model", str(model)]
    assert main(call) == 0
    out, _ = capsys.readouterr()
    assert f"{target}: 20 frames, 2 shots" in out and "painted one by one" in out
    assert main(call) == 2
    assert "--overwrite replaces it" in capsys.readouterr().err
    assert main([*call, "--overwrite", "--json", "--steadiness", "0"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["frames"] == 20
    assert report["flicker_painted"] == report["flicker_steady"] > 0


def test_the_command_reports_a_damaged_film_by_its_status(names, tmp_path, model, capsys):
    frames = [grey(rgb) for name in names for rgb in clip(name, 10)]
    source = write_film(tmp_path / "long.mkv", frames)
    source.write_bytes(source.read_bytes()[: source.stat().st_size // 2])
    call = ["video", str(source), "-o", str(tmp_path / "b.mkv"), "--model", str(model)]
    assert main(call) == 1
    assert "long.mkv is damaged: it breaks off after" in capsys.readouterr().err
