"""The commands of `metastyle` that share: push, pull, list, convert."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from metastyle_hub.hub.download import SORTS, HubError

__all__ = ["add_hub_commands"]

_PUSH = """Shares a style or base on the Hugging Face Hub. Log in once with `hf auth login`, or set HF_TOKEN.
Neither the style picture nor any photo is uploaded unless you ask for it. Pushing the same again changes nothing.

    metastyle push starry me/starry-night --preview photo.jpg
    metastyle push starry me/starry-night --revision softer --message 'Fewer steps'"""

_PULL = """Fetches a style or base, checks it, and writes it to a folder. Other commands take repos as they are:
`metastyle stylize photo.jpg -s me/starry-night -o out.png` needs no pull.

    metastyle pull me/starry-night
    metastyle pull me/starry-night@v1 -o starry"""

_LIST = """Lists styles on the Hub.

    metastyle list
    metastyle list wave --base me/metastyle-base --sort downloads --limit 20"""

_CONVERT = """Converts a .pth of the PyTorch examples' fast_neural_style. Only tensors are read, never code; the
result paints what the original paints.

    metastyle convert candy.pth -o candy
    metastyle stylize photo.jpg -s candy -o out.png"""


def add_hub_commands(command: Callable[..., argparse.ArgumentParser]) -> None:
    """Add the commands of this module with a function that makes a subparser."""
    push = command("push", _push, "share a style on the Hub", _PUSH, device=False)
    push.add_argument("source", help="folder of a style or base")
    push.add_argument("repo", help="where to: user/name, made if it does not exist")
    push.add_argument("--private", action="store_true", default=None, help="make the repo private if it is new")
    push.add_argument("--revision", metavar="BRANCH", help="branch, made if it does not exist (default main)")
    push.add_argument("--create-pr", action="store_true", help="propose the change instead of making it")
    push.add_argument("--message", metavar="TEXT", help="title of the commit")
    push.add_argument("--description", metavar="TEXT", help="the rest of the commit's message")
    push.add_argument("--style-image", metavar="PICTURE", help="share the style picture; only if it is yours to share")
    push.add_argument("--preview", metavar="PHOTO", help="share this photo in the style")
    push.add_argument("--license", help="of the parameters (default apache-2.0)")

    pull = command("pull", _pull, "fetch a style from the Hub", _PULL, device=False)
    pull.add_argument("repo", help="user/name or user/name@revision")
    pull.add_argument("--revision", help="branch, tag or commit (default main)")
    pull.add_argument("-o", "--out", type=Path, metavar="FOLDER", help="default: the name of the repo")
    pull.add_argument("--force", action="store_true", help="download anew, and into a folder that is not empty")

    find = command("list", _list, "find styles on the Hub", _LIST, device=False)
    find.add_argument("search", nargs="?", help="part of the name")
    find.add_argument("--author", help="only styles of this user or organisation")
    find.add_argument("--base", metavar="REPO", help="only styles of this base, a repo or a fingerprint")
    find.add_argument("--sort", choices=SORTS, default="likes", help="what comes first (default likes)")
    find.add_argument("--limit", type=int, default=30, metavar="N", help="how many at most (default 30)")
    find.add_argument("--json", action="store_true", help="one JSON object a line, with preview addresses")

    convert = command("convert", _convert, "convert a fast_neural_style network", _CONVERT, device=False)
    convert.add_argument("file", help="the .pth file")
    convert.add_argument("-o", "--out", type=Path, required=True, metavar="FOLDER", help="folder for the result")
    convert.add_argument("--name", help="a name for people (default: the file's)")


def _push(args: argparse.Namespace) -> None:
    from metastyle_hub.model import MetaStyle

    model = MetaStyle.from_pretrained(args.source)
    info = model.push_to_hub(
        args.repo,
        private=args.private,
        revision=args.revision,
        create_pr=args.create_pr,
        commit_message=args.message,
        commit_description=args.description,
        style_image=args.style_image,
        preview=args.preview,
        license=args.license,
    )
    print(f"{args.source}: {info.pr_url or info.commit_url}")


def _pull(args: argparse.Namespace) -> None:
    from metastyle_hub.artifacts.model_card import CARD_FILE, PREVIEW_FILE, STYLE_FILE
    from metastyle_hub.artifacts.config import CONFIG_FILE, WEIGHTS_FILE
    from metastyle_hub.hub.download import DownloadOptions, fetch, fetch_extra
    from metastyle_hub.model import MetaStyle
    from metastyle_hub.hub.sharing import replace_files

    found = fetch(args.repo, args.revision, DownloadOptions(force_download=args.force))
    if found.repo_id is None:
        raise HubError(f"{args.repo} is a folder here already; name a Hub repo as user/name.")
    out = args.out or Path(found.repo_id.partition("/")[2])
    if out.is_dir() and any(out.iterdir()) and not args.force:
        raise HubError(f"{out} is not empty; name another folder with -o, or add --force.")
    # loading checks everything, and brings the base of a style into the cache
    model = MetaStyle.from_pretrained(found.repo_id, revision=found.commit)
    files = {name: fetch_extra(found, name) for name in (CARD_FILE, PREVIEW_FILE, STYLE_FILE)}
    files |= {name: (found.folder / name).read_bytes() for name in (WEIGHTS_FILE, CONFIG_FILE)}
    replace_files(out, {name: data for name, data in files.items() if data is not None})
    print(f"{out}: {model!r}, from {found}")


def _list(args: argparse.Namespace) -> None:
    from metastyle_hub.hub.download import list_styles

    count = 0
    for style in list_styles(args.search, author=args.author, base=args.base, sort=args.sort, limit=args.limit):
        count += 1
        if args.json:
            print(json.dumps(asdict(style)))
            continue
        if count == 1:
            print(f"{'repo':40} {'likes':>6} {'downloads':>10}  name")
        print(f"{style.repo_id:40} {style.likes:6} {style.downloads:10}  {' '.join(style.name.split())}")
    if not count and not args.json:
        print("No styles found.")


def _convert(args: argparse.Namespace) -> None:
    from metastyle_hub.artifacts.convert import convert_johnson

    model = convert_johnson(args.file, args.name)
    model.save_pretrained(args.out)
    print(f"{args.out}: {model!r}")
    print(f"Next: metastyle stylize PHOTO -s {args.out} -o out.png")
