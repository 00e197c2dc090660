"""`metastyle push`, `pull` and `list`: styles on the Hugging Face Hub."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path

from metastyle_hub.artifacts.config import CONFIG_FILE, WEIGHTS_FILE
from metastyle_hub.artifacts.model_card import CARD_FILE, PREVIEW_FILE, STYLE_FILE
from metastyle_hub.errors import HubError
from metastyle_hub.hub.download import locate, read_extra
from metastyle_hub.hub.search import SORTS, list_styles
from metastyle_hub.hub.upload import write_artifact
from metastyle_hub.model import MetaStyle

__all__ = ["configure_list", "configure_pull", "configure_push"]

_PUSH = """Share a style or base on the Hugging Face Hub. Log in once with `hf auth login`, or set HF_TOKEN.
Neither the style image nor any content image is uploaded unless you ask for it. Pushing the same again changes nothing.

    metastyle push starry me/starry-night --preview photo.jpg
    metastyle push starry me/starry-night --revision softer --message 'Fewer steps'"""

_PULL = """Download a style or base, check it, and write it to a folder. Other commands take repos directly:
`metastyle stylize photo.jpg -s me/starry-night -o out.png` needs no pull.

    metastyle pull me/starry-night
    metastyle pull me/starry-night@v1 -o starry"""

_LIST = """List styles on the Hub.

    metastyle list
    metastyle list wave --base me/metastyle-base --sort downloads --limit 20"""


def configure_push(parser: argparse.ArgumentParser, *, advanced: bool) -> None:
    """Add the arguments of `push`."""
    parser.description = _PUSH
    parser.add_argument("source", help="folder of a style or base")
    parser.add_argument("repo", help="user/name; created if it does not exist")
    parser.add_argument("--private", action="store_true", default=None, help="make a new repo private")
    parser.add_argument("--revision", metavar="BRANCH", help="branch, created if it does not exist (default main)")
    parser.add_argument("--create-pr", action="store_true", help="open a pull request instead")
    parser.add_argument("--message", metavar="TEXT", help="title of the commit")
    parser.add_argument("--description", metavar="TEXT", help="body of the commit message")
    parser.add_argument("--style-image", metavar="IMAGE", help="upload the style image; only if it is yours to share")
    parser.add_argument("--preview", metavar="IMAGE", help="upload this image, stylized, as a preview")
    parser.add_argument("--license", help="of the parameters (default apache-2.0)")
    parser.set_defaults(run=_push)


def configure_pull(parser: argparse.ArgumentParser, *, advanced: bool) -> None:
    """Add the arguments of `pull`."""
    parser.description = _PULL
    parser.add_argument("repo", help="user/name or user/name@revision")
    parser.add_argument("--revision", help="branch, tag or commit (default main)")
    parser.add_argument("-o", "--out", type=Path, metavar="FOLDER", help="default: the name of the repo")
    parser.add_argument("--force", action="store_true", help="download again, and write to a non-empty folder")
    parser.set_defaults(run=_pull)


def configure_list(parser: argparse.ArgumentParser, *, advanced: bool) -> None:
    """Add the arguments of `list`."""
    parser.description = _LIST
    parser.add_argument("search", nargs="?", help="part of the name")
    parser.add_argument("--author", help="only styles of this user or organization")
    parser.add_argument("--base", metavar="REPO", help="only styles of this base, a repo or a fingerprint")
    parser.add_argument("--sort", choices=SORTS, default="likes", help="order (default likes)")
    parser.add_argument("--limit", type=int, default=30, metavar="N", help="at most so many (default 30)")
    parser.add_argument("--json", action="store_true", help="one JSON object per line, with the URL of the preview")
    parser.set_defaults(run=_list)


def _push(args: argparse.Namespace) -> None:
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
    place = locate(args.repo, args.revision)
    if isinstance(place, Path):
        raise HubError(f"{args.repo} is a folder on this machine; name a Hub repo as user/name.")
    out = args.out or Path(place[0].partition("/")[2])
    if out.is_dir() and any(out.iterdir()) and not args.force:
        raise HubError(f"{out} is not empty; name another folder with -o, or add --force.")
    # loading checks all files, and brings the base of a style into the cache
    model = MetaStyle.from_pretrained(args.repo, revision=args.revision, force_download=args.force)
    assert model.origin is not None
    names = (WEIGHTS_FILE, CARD_FILE, PREVIEW_FILE, STYLE_FILE, CONFIG_FILE)
    files = {name: read_extra(model.origin, name) for name in names}
    write_artifact(out, {name: data for name, data in files.items() if data is not None})
    print(f"{out}: {model!r}, from {model.origin}")


def _list(args: argparse.Namespace) -> None:
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
