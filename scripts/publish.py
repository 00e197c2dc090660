"""Publish the base, the example styles and the Space on the Hugging Face Hub.

    python scripts/publish.py --namespace NAME                  the plan; nothing is sent
    python scripts/publish.py --namespace NAME --no-dry-run     do it, with HF_TOKEN or after `hf auth login`

Idempotent: what is there and unchanged is left alone, so a run that broke off is simply started again. Styles are the
Space's built-in ones where they were learned on this base and with these settings; others are learned once, into
--work, from the pictures that come with the library.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path

from metastyle_hub import AdaptationConfig, MetaStyle, MetaStyleError
from metastyle_hub.artifacts.config import CONFIG_FILE, ArtifactConfig
from metastyle_hub.data.examples import example, example_styles
from metastyle_hub.hub.upload import UploadOptions, push
from metastyle_hub.images.io import image_sha256
from metastyle_hub.config import add_arguments, from_arguments

ROOT = Path(__file__).resolve().parent.parent
FEATURES = ROOT / "metastyle_hub" / "pretrained" / "compact.safetensors"
PREVIEW = "cat"  # the photo that shows what a style does


def publish(options: argparse.Namespace) -> None:
    """Push everything in the order in which it refers to each other: base, styles, Space."""
    dry, namespace = options.dry_run, options.namespace
    base_repo, space_repo = f"{namespace}/metastyle-base", f"{namespace}/metastyle"
    base = MetaStyle.from_pretrained(options.base)
    say(dry, base_repo, f"base {base.fingerprint[:12]} and {FEATURES.name}")
    if not dry:
        base.push_to_hub(base_repo, extra={FEATURES.name: FEATURES.read_bytes()}, commit_message="Base")
        # from the Hub, so that the styles name its repo and commit
        base = MetaStyle.from_pretrained(base_repo)
    config = from_arguments(AdaptationConfig, options)
    names = options.styles if options.styles is not None else sorted(example_styles())
    for name in names:
        repo = f"{namespace}/metastyle-{name.replace('_', '-')}"
        work = options.work / namespace / base.fingerprint[:12] / name
        places = (options.space / "styles" / name, work)
        folder = next((place for place in places if is_learned(place, name, base.fingerprint, config)), None)
        say(dry, repo, f"style {name}, {f'from {folder}' if folder else f'to learn in {config.steps} steps'}")
        if dry:
            continue
        if folder is None:
            folder = base.adapt(example(name), config=config).save_pretrained(work)
        # all pictures come with the library, so all may go along
        style = base.apply(folder)
        style.push_to_hub(repo, style_image=example(name), preview=example(PREVIEW), commit_message=f"Style {name}")
    if options.space.is_dir():
        files = files_of(options.space)
        say(dry, f"spaces/{space_repo}", f"Space of {len(files)} files from {options.space}")
        if not dry:
            push(space_repo, files, UploadOptions(commit_message="Space"), repo_type="space", exact=True)
    if dry:
        print("Nothing was sent; add --no-dry-run to do it.")


def is_learned(folder: Path, name: str, fingerprint: str, config: AdaptationConfig) -> bool:
    """Whether the style was learned before, from the same picture, on the same base and in the same way."""
    file = folder / CONFIG_FILE
    if not file.is_file():
        return False
    described = ArtifactConfig.from_json(file.read_text(encoding="utf-8"), str(folder))
    if described.base_model is None or described.base_model.fingerprint != fingerprint:
        return False
    if described.style_sha256 != image_sha256(example(name)):
        return False
    known = described.adaptation or {}
    if config.precision == "auto":  # of which the file says what it came to
        config = replace(config, precision=known.get("precision", "auto"))
    return known == json.loads(json.dumps(config.to_dict()))


def files_of(folder: Path) -> dict[str, bytes]:
    """What is in a folder by its path there, without what Python and the system leave lying about."""
    paths = [path.relative_to(folder) for path in sorted(folder.rglob("*")) if path.is_file()]
    kept = [path for path in paths if not any(part.startswith((".", "__")) for part in path.parts)]
    return {path.as_posix(): (folder / path).read_bytes() for path in kept}


def say(dry: bool, where: str, what: str) -> None:
    """One line of the plan, or of what is being done."""
    print(f"{'would push' if dry else 'pushing'} {where}: {what}", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--namespace", required=True, metavar="NAME", help="user or organisation to publish under")
    parser.add_argument("--dry-run", action=argparse.BooleanOptionalAction, default=True, help="only print the plan")
    parser.add_argument("--base", type=Path, help="folder of the base (default: the one in the package)")
    parser.add_argument("--styles", nargs="*", metavar="NAME", help="which example styles (default: all)")
    parser.add_argument("--space", type=Path, default=ROOT / "space", help="folder of the Space, if there is one")
    parser.add_argument("--work", type=Path, default=ROOT / "runs" / "publish", help="where learned styles are kept")
    add_arguments(parser.add_argument_group("settings"), AdaptationConfig, ("steps", "parameters", "size", "seed"))
    try:
        publish(parser.parse_args())
    except MetaStyleError as error:
        print(f"publish: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
