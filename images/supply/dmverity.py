"""dm-verity's hash tree, computed anew (Linux Documentation/admin-guide/device-mapper/verity.rst; format 1, sha256).

What is recomputed is the whole tree, so that a wrong octet in the data and one in the stored tree are both found.
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass
from typing import Final

from images.supply.region import Region, Tick, no_tick
from nf.errors import IntegrityError

BLOCK: Final = 4096
_DIGEST: Final = 32
_PER_BLOCK: Final = BLOCK // _DIGEST
_SUPERBLOCK: Final = struct.Struct("<8sII16s32sIIQH6s256s168s")
_LONGEST_SALT: Final = 256


@dataclass(frozen=True, slots=True)
class Superblock:
    """As `veritysetup format` writes it (cryptsetup lib/verity/verity.c, struct verity_sb)."""

    data_blocks: int
    salt: bytes


@dataclass(frozen=True, slots=True)
class Tree:
    """`octets` is the tree as it is stored: the level below the root first."""

    root_hash: str
    octets: bytes


def superblock(image: Region, at: int) -> Superblock:
    """Read it. Raises IntegrityError for everything but what this product makes: format 1, sha256, 4096/4096."""
    (magic, version, kind, _uuid, algorithm, data_block, hash_block, blocks, salt_size, pad, salt, tail) = (
        _SUPERBLOCK.unpack(image.read(at, _SUPERBLOCK.size))
    )
    if magic != b"verity\0\0":
        raise IntegrityError(f"no dm-verity superblock at {at}", where=image.name)
    if (version, kind, data_block, hash_block) != (1, 1, BLOCK, BLOCK) or algorithm != b"sha256".ljust(32, b"\0"):
        raise IntegrityError("its dm-verity parameters are not those of this product", where=image.name)
    if salt_size > _LONGEST_SALT or any(pad) or any(tail) or any(salt[salt_size:]):
        raise IntegrityError("its dm-verity superblock is damaged", where=image.name)
    if any(image.read(at + _SUPERBLOCK.size, BLOCK - _SUPERBLOCK.size)):
        raise IntegrityError("octets follow its dm-verity superblock where none belong", where=image.name)
    return Superblock(blocks, salt[:salt_size])


def hash_tree(data: Region, salt: bytes, tick: Tick = no_tick) -> Tree:
    """Of `data`, whose size must be a multiple of 4096. Raises IntegrityError."""
    if not data.size or data.size % BLOCK:
        raise IntegrityError(f"its {data.size} octets are no whole number of blocks", where=data.name)
    seeded = hashlib.sha256(salt)
    digests = bytearray()
    for chunk in data.chunks(tick=tick):
        digests += _hash_blocks(chunk, seeded)
    levels: list[bytes] = []
    while len(digests) > _DIGEST:
        level = bytes(digests) + bytes(-len(digests) % BLOCK)
        levels.append(level)
        digests = _hash_blocks(level, seeded)
    return Tree(digests.hex(), b"".join(reversed(levels)))


def _hash_blocks(data: bytes, seeded: hashlib._Hash) -> bytearray:
    digests = bytearray()
    view = memoryview(data)
    for at in range(0, len(data), BLOCK):
        hasher = seeded.copy()
        hasher.update(view[at : at + BLOCK])
        digests += hasher.digest()
    return digests


def tree_size(data_octets: int) -> int:
    """Octets of the stored tree for so many octets of data."""
    blocks = -(-data_octets // BLOCK)
    total = 0
    while blocks > 1:
        blocks = -(-blocks // _PER_BLOCK)
        total += blocks * BLOCK
    return total


def check_image(image: Region, hash_offset: int, root_hash: str, tick: Tick = no_tick) -> int:
    """A root image: data, superblock at `hash_offset`, tree. Returns the size it has, in octets.

    Raises IntegrityError when the tree that is computed has another root, or is not the one that is stored.
    """
    head = superblock(image, hash_offset)
    if head.data_blocks * BLOCK != hash_offset:
        raise IntegrityError(
            f"its superblock speaks of {head.data_blocks} blocks, the command line of {hash_offset // BLOCK}",
            where=image.name,
        )
    tree = hash_tree(image.part(0, hash_offset), head.salt, tick)
    if tree.root_hash != root_hash:
        raise IntegrityError(
            f"its root hash is {tree.root_hash}, signed was {root_hash}",
            where=image.name,
            remedy="the image was altered after it was built: do not use it",
        )
    if image.read(hash_offset + BLOCK, len(tree.octets)) != tree.octets:
        raise IntegrityError("its stored hash tree is not that of its data", where=image.name)
    return hash_offset + BLOCK + len(tree.octets)
