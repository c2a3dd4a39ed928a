"""The commands `models` and `export`."""

import argparse
import sys
from pathlib import Path


def add(commands: argparse._SubParsersAction) -> None:
    """Add the commands."""
    models = commands.add_parser("models", help="list the bundled and the downloaded models")
    models.set_defaults(command=_models)
    export = commands.add_parser(
        "export",
        help="write a model as an ONNX file, or as a folder for the Hugging Face hub",
        description="Write a trained model as one ONNX file of any batch and photo size, verified "
        "against torch before it gets its name; or as a folder of config.json, "
        "model.safetensors (fp16) and a model card, the form of the Hugging Face hub. Both can be "
        "given to `colorize photo --model`.",
    )
    export.add_argument("model", metavar="MODEL", help="as in `colorize photo --model`")
    export.add_argument(
        "-o",
        "--output",
        required=True,
        type=Path,
        metavar="OUT",
        help="a file whose name ends in .onnx, or a new folder",
    )
    export.add_argument("--overwrite", action="store_true", help="replace an existing ONNX file")
    export.set_defaults(command=_export)


def _models(args: argparse.Namespace) -> int:
    from colorize.models import pretrained
    from colorize.utils.files import file_sha256

    bundled = {name: pretrained.BUNDLED / name for name in pretrained.bundled()}
    cached = pretrained.cached()
    for kind, folders in (("bundled", bundled), ("cached", cached)):
        for name, folder in folders.items():
            weights = folder / pretrained.WEIGHTS
            size = weights.stat().st_size / 1e6
            print(f"{name}  {kind}  {size:.1f} MB  sha256 {file_sha256(weights)}")
    if not bundled and not cached:
        print("no models: train one, or download one by its name on the Hugging Face hub")
    return 0


def _export(args: argparse.Namespace) -> int:
    from colorize.inference.onnx import export_onnx, import_onnx
    from colorize.models import pretrained
    from colorize.utils.checks import check_writable
    from colorize.utils.files import file_sha256

    if args.output.suffix not in ("", ".onnx") and not args.output.is_dir():
        raise ValueError(f"{args.output}: a model is written to FILE.onnx or into a folder")
    if str(args.model).endswith(".onnx"):
        raise ValueError(f"{args.model} is an ONNX file; export the model that it was made from")
    if args.output.is_file() and not args.overwrite:
        raise ValueError(f"{args.output} exists; replace it with --overwrite")
    is_onnx = args.output.suffix == ".onnx"
    check_writable(args.output.parent if is_onnx else args.output)
    if is_onnx:
        import_onnx()  # fails before the export, which takes long
    model = pretrained.load(args.model)
    if is_onnx:
        print("colorize: exporting, which takes some minutes", file=sys.stderr)
        difference = export_onnx(model, args.output)
        print(f"{args.output}: differs from torch by at most {difference:.1g} in CIELAB")
    else:
        pretrained.save(model, args.output, pretrained.model_card(model))
        print(f"{args.output}: sha256 {file_sha256(args.output / pretrained.WEIGHTS)}")
    return 0
