"""`nf image build` and `nf image size`."""

from __future__ import annotations

import re
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nf.contracts.json import JsonObject
from nf.contracts.noc_client import CLIENT
from nf.errors import InputError

if TYPE_CHECKING:
    from images.builder.manifest import Manifest
    from images.builder.order import Built

MIB = 2**20
_KERNELS = ("production", "cloud")
_COMPRESSIONS = ("fast", "small")


def role_names(incomplete: str) -> list[str]:
    """Completion."""
    from images.recipe import roles

    return [name for name in roles() if name.startswith(incomplete)]


def kernel_names(incomplete: str) -> list[str]:
    """Completion."""
    return [name for name in _KERNELS if name.startswith(incomplete)]


def compression_names(incomplete: str) -> list[str]:
    """Completion."""
    return [name for name in _COMPRESSIONS if name.startswith(incomplete)]


def build(
    *,
    role: Annotated[
        str, typer.Option("--role", help="headend, core or pop.", autocompletion=role_names, show_default=False)
    ],
    version: Annotated[str, typer.Option("--version", help="Of the image.", show_default="the product's")] = "",
    kernel: Annotated[
        str,
        typer.Option(
            "--kernel", help="production: real hardware; cloud: virtual machines.", autocompletion=kernel_names
        ),
    ] = "production",
    compression: Annotated[
        str,
        typer.Option(
            "--compression",
            help="fast; small: 7 % smaller, for eight times the work.",
            autocompletion=compression_names,
        ),
    ] = "fast",
    keys: Annotated[
        Path | None,
        typer.Option("--keys", metavar="DIR", help="Signing keys (`nf image keys init`).", show_default=False),
    ] = None,
    output: Annotated[Path, typer.Option("--output", metavar="DIR", help="Where ROLE-VERSION/ is put.")] = Path(
        "build/images"
    ),
    cache: Annotated[Path, typer.Option("--cache", metavar="DIR", help="Packages and trees of earlier builds.")] = Path(
        "build/cache"
    ),
    overlay: Annotated[
        list[Path] | None,
        typer.Option(
            "--overlay", metavar="DIR", help="The operator's files/ and units/; repeatable.", show_default=False
        ),
    ] = None,
    repo: Annotated[
        list[str] | None,
        typer.Option(
            "--repo", metavar="FILE|DIR", help="The operator's apt sources, or a directory of .deb.", show_default=False
        ),
    ] = None,
    packages: Annotated[
        str, typer.Option("--packages", metavar="A,B", help="What to take from --repo.", show_default=False)
    ] = "",
    mirror: Annotated[
        str,
        typer.Option(
            "--mirror", metavar="URL|FILE", help="Debian archive, or a file of sources.", show_default="apt's own"
        ),
    ] = "",
    root_only: Annotated[
        bool, typer.Option("--root-only", help="End at rootfs.tar; needs no keys, signs nothing.")
    ] = False,
    keep_tree: Annotated[
        bool, typer.Option("--keep-tree", help="Leave the root as a directory beside the output.")
    ] = False,
    offline: Annotated[bool, typer.Option("--offline", help="Ask no mirror: take what the cache knows.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON; errors too, on stderr.")] = False,
) -> None:
    """Build the image of a role: root, signed boot chain, disk image, update bundle, bills of materials. Needs root."""
    from images.builder.build import build_image
    from images.builder.order import Options
    from images.commands.progress import Terminal

    if kernel not in _KERNELS:
        raise InputError(f"no kernel {kernel!r}", where="--kernel", remedy=f"one of: {', '.join(_KERNELS)}")
    if compression not in _COMPRESSIONS:
        raise InputError(
            f"no compression {compression!r}", where="--compression", remedy=f"one of: {', '.join(_COMPRESSIONS)}"
        )
    options = Options(
        role=role,
        version=version or installed_version("streamverse-nf"),
        kernel="cloud" if kernel == "cloud" else "production",
        compression="small" if compression == "small" else "fast",
        keys=keys,
        output=output,
        cache=cache,
        overlays=tuple(overlay or ()),
        repositories=tuple(repo or ()),
        packages=tuple(name for name in re.split(r"[,\s]+", packages) if name),
        mirror=mirror,
        root_only=root_only,
        keep_tree=keep_tree,
        offline=offline,
    )
    with Terminal() as display:
        built = build_image(options, display)
    if json:
        CLIENT.get().print_json(_as_json(built))
    else:
        _show(built)


def size(
    place: Annotated[
        Path, typer.Argument(metavar="DIR|FILE", help="A build's output, or its manifest.", show_default=False)
    ],
    *,
    count: Annotated[int, typer.Option("--count", min=1, help="How many packages.")] = 10,
    json: Annotated[bool, typer.Option("--json", help="Print JSON; errors too, on stderr.")] = False,
) -> None:
    """What takes the room in an image: its files and its largest packages."""
    from images.builder.manifest import read_manifest

    manifest = read_manifest(place)
    if json:
        CLIENT.get().print_json(_sizes(manifest, count))
        return
    _show_sizes(manifest, count)


def _sizes(manifest: Manifest, count: int) -> JsonObject:
    return {
        "role": manifest.role,
        "version": manifest.version,
        "files": {name: entry.size for name, entry in manifest.files.items()},
        "packages": len(manifest.packages),
        "packages_octets": sum(one.octets for one in manifest.packages),
        "largest": [
            {"name": one.name, "version": one.version, "octets": one.octets} for one in manifest.largest(count)
        ],
    }


def _show_sizes(manifest: Manifest, count: int) -> None:
    client = CLIENT.get()
    rows = [
        (name, f"{entry.size / MIB:.1f}")
        for name, entry in sorted(manifest.files.items(), key=lambda item: -item[1].size)
    ]
    client.print_table(("FILE", "MiB"), tuple(rows))
    total = sum(one.octets for one in manifest.packages) / MIB
    client.say("")
    largest = tuple((one.name, one.version, one.origin, f"{one.octets / MIB:.1f}") for one in manifest.largest(count))
    client.print_table((f"LARGEST OF {len(manifest.packages)}", "VERSION", "ORIGIN", "MiB"), largest)
    client.say(f"all packages: {total:.0f} MiB, not compressed; a slot has {manifest.slot_octets / MIB:.0f} MiB")


def _as_json(built: Built) -> dict[str, Any]:
    return {
        "directory": str(built.directory),
        "seconds": built.seconds,
        "cached": built.cached,
        "notes": list(built.notes),
        **_sizes(built.manifest, 10),
        "root_hash": built.manifest.root_hash,
        "tree_sha256": built.manifest.tree_sha256,
    }


def _show(built: Built) -> None:
    client = CLIENT.get()
    _show_sizes(built.manifest, 10)
    times = ", ".join(f"{step} {seconds:.0f} s" for step, seconds in built.seconds.items())
    client.say(f"{built.directory}: {times}{', tree from the cache' if built.cached else ''}")
    for note in built.notes:
        client.say(f"note: {note}")
    if built.manifest.root_hash is None:
        client.say("the root alone: not signed, boots nowhere; --keys DIR makes an image")
