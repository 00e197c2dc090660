"""Adapt the style of an image in half a minute, and stylize photos with it.

metastyle adapt starry_night.jpg -o starry            adapt a style
metastyle stylize photo.jpg -s starry -o out.png      use it
metastyle interpolate starry wave --content photo.jpg -o strip.png
metastyle video walk.mp4 -s starry -o stylized.mp4    a video, frame by frame
metastyle push starry me/starry-night                 share it on the Hugging Face Hub
metastyle demo                                        see it work on images that ship with the package
metastyle space                                       the same in the browser
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import logging
import os
import sys
from collections.abc import Sequence

from metastyle_hub.errors import MetaStyleError, SettingError
from metastyle_hub.signals import exit_status, interruptible
from metastyle_hub.version import __version__

__all__ = ["command_parser", "main"]

# name -> module, help; a module is imported when its command is called, so that `metastyle --version` needs no torch
_COMMANDS = {
    "adapt": ("adapt", "adapt a style to an image"),
    "stylize": ("stylize", "stylize images"),
    "interpolate": ("interpolate", "interpolate styles"),
    "video": ("video", "stylize a video"),
    "export": ("export", "write ONNX files, for other programs and for the browser"),
    "push": ("hub", "share a style on the Hub"),
    "pull": ("hub", "download a style from the Hub"),
    "list": ("hub", "list styles on the Hub"),
    "info": ("artifacts", "describe a base or style"),
    "convert": ("artifacts", "convert a fast_neural_style network"),
    "demo": ("demo", "make an image grid that shows adaptation and interpolation"),
    "space": ("app", "serve the Gradio app"),
    "completion": ("completion", "print a script for the completion of a shell"),
}
_HELP_ALL = "--help-all"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        argv: the arguments, default those of the process.

    Returns:
        the exit status: 0; 2 after a user's mistake, with one sentence on stderr; 130 after Ctrl-C, 143 after SIGTERM.

    Example::

        status = main(["stylize", "photo.jpg", "-s", "starry"])
    """
    for stream in (sys.stdout, sys.stderr):  # a name that the terminal cannot encode must not be fatal
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    logging.basicConfig(level=logging.WARNING, format="metastyle: %(message)s")
    # the Hub's client writes to stderr itself; of a retry one line is enough, its cause comes at the end
    logging.getLogger("huggingface_hub").propagate = False
    logging.getLogger("huggingface_hub.utils._http").addFilter(_is_no_retry_cause)
    own_process, argv = argv is None, list(sys.argv[1:] if argv is None else argv)
    try:
        if "" in argv:  # which would otherwise mean the current folder
            raise SettingError("One of the arguments is empty; if it comes from a variable, check that it is set.")
        arguments = command_parser(argv).parse_args(["--help" if a == _HELP_ALL else a for a in argv])
        if own_process:
            from metastyle_hub.devices import keep_freed_memory

            keep_freed_memory()
        with interruptible():
            arguments.run(arguments)
            sys.stdout.flush()
    except BrokenPipeError:  # the reader has closed the pipe, as `head` does; Python would complain at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except MetaStyleError as error:
        print(f"metastyle: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as interrupt:
        with contextlib.suppress(OSError):  # a closed terminal
            print("metastyle: stopped.", file=sys.stderr)
        return exit_status(interrupt)
    return 0


def _is_no_retry_cause(record: logging.LogRecord) -> bool:
    return "thrown while requesting" not in record.getMessage()


def command_parser(argv: Sequence[str] | None) -> argparse.ArgumentParser:
    """Return the parser for these arguments: only the command that they call has its own; with None every command."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog="metastyle", description=__doc__, formatter_class=raw)
    parser.add_argument("--version", action="version", version=f"metastyle {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    called = next((argument for argument in argv or () if not argument.startswith("-")), None)
    for name, (module, help) in _COMMANDS.items():
        sub = commands.add_parser(name, help=help, formatter_class=raw)
        if name == called or argv is None:
            configure = getattr(importlib.import_module(f"metastyle_hub.cli.{module}"), f"configure_{name}")
            configure(sub, advanced=_HELP_ALL in (argv or ()))
    return parser
