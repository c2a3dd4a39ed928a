"""The commands `models` and `export`."""

import argparse
import sys
from pathlib import Path


def add(commands: argparse._SubParsersAction) -> None:
    """Make the commands known."""
    models = commands.add_parser("models", help="list the networks that are here")
    models.set_defaults(command=_models)
    export = commands.add_parser(
        "export",
        help="write a network for others",
        description="Write a trained network as one ONNX file of any batch and photo size, "
        "compared with torch before it has its name; or as a folder of config.json, "
        "model.safetensors (fp16) and a model card, the form of the Hugging Face hub. Both can be "
        "given to `colorize photo --model`.",
    )
    export.add_argument("model", metavar="MODEL", help="as of `colorize photo --model`")
    export.add_argument(
        "-o",
        "--output",
        required=True,
        type=Path,
        metavar="OUT",
        help="a file whose name ends in .onnx, or a new folder",
    )
    export.add_argument("--overwrite", action="store_true", help="replace an ONNX file")
    export.set_defaults(command=_export)


def _models(args: argparse.Namespace) -> int:
    from colorize.models import pretrained
    from colorize.utils.files import file_sha256

    here = {name: pretrained.BUNDLED / name for name in pretrained.bundled()}
    fetched = pretrained.cached()
    for kind, found in (("bundled", here), ("cached", fetched)):
        for name, folder in found.items():
            weights = folder / pretrained.WEIGHTS
            size = weights.stat().st_size / 1e6
            print(f"{name}  {kind}  {size:.1f} MB  sha256 {file_sha256(weights)}")
    if not here and not fetched:
        print("no networks: train one, or fetch one by its name on the Hugging Face hub")
    return 0


def _export(args: argparse.Namespace) -> int:
    from colorize.inference.onnx import export_onnx, find_onnx
    from colorize.models import pretrained
    from colorize.utils.files import file_sha256

    if args.output.suffix not in ("", ".onnx") and not args.output.is_dir():
        raise ValueError(f"{args.output}: a network is written to FILE.onnx or into a folder")
    if str(args.model).endswith(".onnx"):
        raise ValueError(f"{args.model} is exported already; export the network that it is of")
    found = pretrained.load(args.model)
    if args.output.is_file() and not args.overwrite:
        raise ValueError(f"{args.output} is there already; --overwrite replaces it")
    if args.output.suffix == ".onnx":
        find_onnx()  # missed before it is waited for
        print("colorize: exporting, which takes some minutes", file=sys.stderr)
        difference = export_onnx(found, args.output)
        print(f"{args.output}: at most {difference:.1g} in CIELAB from what torch paints")
    else:
        pretrained.save(found, args.output, pretrained.model_card(found))
        digest = file_sha256(args.output / pretrained.WEIGHTS)
        print(f"{args.output}: sha256 {digest}")
    return 0
