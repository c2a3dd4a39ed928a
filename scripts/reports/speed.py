"""Tables of the benchmarks of speed, of odd files and old prints, and of the overfitting test."""

from typing import Any


def speed_tables(bench: dict[str, Any]) -> dict[str, str]:
    """Format what `scripts/bench.py train` measured."""
    rows = {row["name"]: row for row in bench["rows"]}
    steps = [
        "| step | plain, ms/photo | ours, ms/photo | speedup | GFLOP/photo | share of peak | "
        "speedup at full peak |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    ends = [
        "| data and step | photos/s | step alone / both | cost of reading | the whole preset |",
        "|---|---:|---:|---:|---:|",
    ]
    for name, row in rows.items():
        ratio = f"{row['ratio']:.2f}"
        if "hours" in row:
            cells = [f"{row['photos_per_second']:.1f}", ratio, f"{row['idle_share']:.0%}"]
            ends.append(f"| {' | '.join([f'`{name}`', *cells, _duration(row['hours'])])} |")
            continue
        cells = [f"{row['plain']:.0f}", f"{row['ours']:.0f}", ratio, f"{row['gflop']:.1f}"]
        cells += [f"{row['share']:.0%}", f"{row['ratio_at_peak']:.1f}"]
        steps.append(f"| {' | '.join([f'`{name}`', *cells])} |")
    step = next(row for row in rows.values() if "precision" in row)
    machine = (
        f"torch {bench['torch']}, {bench['gpu'] or 'CPU'}, {bench['threads']} threads, "
        f"{step['precision']}; fastest convolution {step['peak_gflops']:.0f} GFLOP/s."
    )
    return {"machine": machine, "steps": "\n".join(steps), "end_to_end": "\n".join(ends)}


def inference_tables(bench: dict[str, Any], fuzz: dict[str, Any]) -> dict[str, str]:
    """Format what `scripts/bench.py infer` and `tests/stress/fuzz_files.py` measured."""
    rows = {row["name"]: row for row in bench["rows"]}
    machine = (
        f"torch {bench['torch']}, {bench['gpu'] or 'CPU'}, {bench['threads']} threads; model "
        f"{rows['photo_time']['network']}."
    )
    edges = rows["edges"]
    edge_lines = [
        "| upsampling of the colors | bleeding | mean ab distance |",
        "|---|---:|---:|",
        f"| bilinear | {edges['plain']:.1f} % | {edges['plain_dab']:.2f} |",
        f"| guided | {edges['ours']:.1f} % | {edges['ours_dab']:.2f} |",
        f"| ground truth | {edges['truth']:.1f} % | 0 |",
    ]
    return {
        "machine": machine,
        "infer": _inference_table(rows),
        "edges": "\n".join(edge_lines),
        "lossy": _file_format_table(rows["lossy"]),
        "fuzz": _fuzz_table(fuzz),
    }


def _inference_table(rows: dict[str, dict[str, Any]]) -> str:
    lines = ["| from file to colorized file | plain | ours | ratio |", "|---|---:|---:|---:|"]
    for name in ("photo_time", "photo_memory", "folder"):
        row = rows[name]
        values = [f"{row[way]:.0f} {row['unit']}" for way in ("plain", "ours")]
        ratio = f"{row['ratio']:.2f}"
        if "lowest" in row:
            ratio += f" ({row['lowest']:.2f} to {row['highest']:.2f})"
        lines.append(f"| `{name}` | {' | '.join(values)} | {ratio} |")
    return "\n".join(lines)


def _file_format_table(row: dict[str, Any]) -> str:
    errors = {"JPEG": row["ours"]} | {name.upper(): row[name] for name in ("webp", "avif", "png")}
    lines = ["| file format | mean error of the lightness |", "|---|---:|"]
    return "\n".join([*lines, *(f"| {name} | {error:.2f} L* |" for name, error in errors.items())])


def _fuzz_table(fuzz: dict[str, Any]) -> str:
    lines = ["| files | colorized | refused |", "|---|---:|---:|"]
    for row in fuzz["rows"]:
        counts = [str(row.get(state, 0)) for state in ("colored", "failed")]
        lines.append(f"| {row['files']} | {' | '.join(counts)} |")
    return "\n".join(lines)


def tone_table(tones: dict[str, Any]) -> str:
    """Format what `scripts/measure_tones.py` measured."""
    states = ("gray", "toned", "tinted", "color")
    lines = [
        f"| photos | cases | {' | '.join(states)} | with outlines | overlap |",
        f"|---|{'---:|' * 7}",
    ]
    old = [row for row in tones["rows"] if row["is_old"]]
    others = [row for row in tones["rows"] if not row["is_old"]]
    total = {key: sum(row.get(key, 0) for row in old) for key in ("cases", *states)}
    for row in (*old, {"kind": "**all gray and toned prints**"} | total, *others):
        cells = [row["kind"], *(row.get(key, 0) for key in ("cases", *states))]
        cells += [row.get("outlined", ""), row.get("overlap", "")]
        lines.append(f"| {' | '.join(map(str, cells))} |")
    left = total["tinted"] + total["color"]
    photos = next(row for row in others if row["kind"] == "color photos")
    mistaken = photos.get("gray", 0) + photos.get("toned", 0)
    return "\n".join(lines) + (
        f"\n\nLeft uncolored: {left} of {total['cases']} gray and toned prints "
        f"({left / total['cases']:.1%}). Taken for gray or toned: {mistaken} of {photos['cases']} "
        f"color photos ({mistaken / photos['cases']:.1%})."
    )


def video_tables(bench: dict[str, Any]) -> dict[str, str]:
    """Format what `scripts/bench.py video` measured."""
    rows = {row["name"]: row for row in bench["rows"]}
    speed, flicker = rows["video"], rows["flicker"]
    rows_by_interval = {
        interval: f"| smoothed, 1 of {interval} frames predicted | {change:.2f} | {error:.1f} |"
        for interval, (change, error) in flicker["intervals"].items()
    }
    changes = [
        "| colors | change from frame to frame | mean ab distance |",
        "|---|---:|---:|",
        f"| frame by frame | {flicker['plain']:.2f} | {flicker['unsmoothed_dab']:.1f} |",
        *rows_by_interval.values(),
        f"| ground truth | {flicker['truth']:.2f} | 0 |",
    ]
    times = [
        "| a frame of 1280 x 720 | ms |",
        "|---|---:|",
        f"| plain | {speed['plain']:.0f} |",
        f"| ours | {speed['ours']:.0f} |",
    ]
    return {"flicker": "\n".join(changes), "video": "\n".join(times)}


def overfit_table(overfit: dict[str, Any]) -> str:
    """Format what `scripts/overfit.py` measured."""
    rows = {row["preset"].removesuffix("_quick"): row for row in overfit["rows"]}
    lines = [
        f"| after {overfit['steps']} steps | mean ab distance | ms per step | × U-Net |",
        "|---|---:|---:|---:|",
    ]
    for name, row in rows.items():
        times = row["ms_per_step"] / rows["unet"]["ms_per_step"]
        error, step = f"{row['ab_error']:.1f}", f"{row['ms_per_step']:.0f}"
        lines.append(f"| {name} | {error} | {step} | {times:.1f} |")
    return "\n".join([*lines, f"| gray | {rows['unet']['gray']:.1f} | | |"])


def _duration(hours: float) -> str:
    return f"{hours:.1f} hours" if hours < 48 else f"{hours / 24:.1f} days"
