"""The tables of speed: of training, of painting; and of what was fed to them."""


def speed_tables(bench: dict) -> dict[str, str]:
    """What `scripts/bench.py train` measured, as Markdown tables."""
    rows = {row["name"]: row for row in bench["rows"]}
    steps = [
        "| step | plain, ms/photo | ours, ms/photo | times as fast | GFLOP/photo | share of peak | "
        "at the full peak |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    ends = [
        "| data and step | photos/s | step alone / both | reading costs | the whole preset |",
        "|---|---:|---:|---:|---:|",
    ]
    for name, row in rows.items():
        ratio = f"{row['ratio']:.2f}"
        if "hours" in row:
            cells = [f"{row['photos_per_second']:.1f}", ratio, f"{row['idle_share']:.0%}"]
            ends.append(f"| {' | '.join([f'`{name}`', *cells, _span(row['hours'])])} |")
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


def infer_tables(bench: dict, fuzz: dict) -> dict[str, str]:
    """What `scripts/bench.py infer` and `scripts/fuzz.py` measured, as Markdown tables."""
    rows = {row["name"]: row for row in bench["rows"]}
    lines = ["| from a file to a painting | plain | ours | ratio |", "|---|---:|---:|---:|"]
    for name in ("photo_time", "photo_memory", "folder"):
        row = rows[name]
        values = [f"{row[way]:.0f} {row['unit']}" for way in ("plain", "ours")]
        ratio = f"{row['ratio']:.2f}"
        if "lowest" in row:
            ratio += f" ({row['lowest']:.2f} to {row['highest']:.2f})"
        lines.append(f"| `{name}` | {' | '.join(values)} | {ratio} |")
    found = rows["edges"]
    edges = [
        "| colors brought to full size | off the edges | ab error |",
        "|---|---:|---:|",
        f"| bilinearly | {found['plain']:.1f} % | {found['plain_dab']:.2f} |",
        f"| along the edges | {found['ours']:.1f} % | {found['ours_dab']:.2f} |",
        f"| the true colors | {found['truth']:.1f} % | 0 |",
    ]
    row = rows["lossy"]
    stored = [
        ("JPEG", row["ours"]),
        *((name.upper(), row[name]) for name in ("webp", "avif", "png")),
    ]
    lossy = ["| stored as | lightness off in the mean |", "|---|---:|"]
    lossy += [f"| {name} | {value:.2f} L* |" for name, value in stored]
    kinds = ["| files | colored | refused |", "|---|---:|---:|"]
    for row in fuzz["rows"]:
        counts = [str(row.get(state, 0)) for state in ("colored", "failed")]
        kinds.append(f"| {row['files']} | {' | '.join(counts)} |")
    machine = (
        f"torch {bench['torch']}, {bench['gpu'] or 'CPU'}, {bench['threads']} threads; network "
        f"{rows['photo_time']['network']}."
    )
    tables = {"infer": lines, "edges": edges, "lossy": lossy, "fuzz": kinds}
    return {"machine": machine} | {name: "\n".join(table) for name, table in tables.items()}


def film_tables(bench: dict) -> dict[str, str]:
    """What `scripts/bench.py film` measured, as Markdown tables."""
    rows = {row["name"]: row for row in bench["rows"]}
    speed, found = rows["film"], rows["flicker"]
    steady = [
        "| colors | change from frame to frame | ab error |",
        "|---|---:|---:|",
        f"| painted one by one | {found['plain']:.2f} | {found['painted_dab']:.1f} |",
        f"| steady | {found['ours']:.2f} | {found['steady_dab']:.1f} |",
        f"| true | {found['truth']:.2f} | 0 |",
    ]
    times = [
        "| a frame of 1280 x 720 | ms |",
        "|---|---:|",
        f"| plain | {speed['plain']:.0f} |",
        f"| ours | {speed['ours']:.0f} |",
    ]
    return {"flicker": "\n".join(steady), "film": "\n".join(times)}


def overfit_table(found: dict) -> str:
    """What `scripts/overfit.py` measured, as a Markdown table."""
    rows = {row["preset"].removesuffix("_quick"): row for row in found["rows"]}
    lines = [
        f"| after {found['steps']} steps | ab error | ms a step | times the U-Net's |",
        "|---|---:|---:|---:|",
    ]
    for name, row in rows.items():
        times = row["ms_per_step"] / rows["unet"]["ms_per_step"]
        error, step = f"{row['ab_error']:.1f}", f"{row['ms_per_step']:.0f}"
        lines.append(f"| {name} | {error} | {step} | {times:.1f} |")
    return "\n".join([*lines, f"| grey | {rows['unet']['grey']:.1f} | | |"])


def _span(hours: float) -> str:
    return f"{hours:.1f} hours" if hours < 48 else f"{hours / 24:.1f} days"
