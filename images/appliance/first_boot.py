"""`nf-first-boot.service` and `nf-enrolled.service`: from a seed to an enrolled appliance, without a hand.

The first runs at each boot and whenever a volume labelled NFSEED is put in; it is quick when there is nothing to do.
The second waits until the agent has enrolled, and then destroys the token wherever it lies.
"""

from __future__ import annotations

import argparse
import logging
import sys
import time
from collections.abc import Callable, Iterator
from typing import Final

from images.appliance import identity, seed_file
from images.appliance.fat import Fat, sticks
from images.appliance.identity import Source
from images.appliance.places import SEED_LABEL, Places, recover
from images.appliance.system import Executor, System
from nf.errors import DocumentError, NfError

_log = logging.getLogger("nf-first-boot")

STICK_S: Final = 12.0
"""So long a machine without any identity waits for a stick to appear."""
_LOOK_S: Final = 1.0


def sources(places: Places, executor: Executor) -> Iterator[Source]:
    """Seeds that can be seen now; one that was put in by hand comes before the one on the own disk."""
    for volume in sticks(executor, label=SEED_LABEL):
        try:
            data = Fat(volume, executor).read(seed_file.SEED, seed_file.MAX_OCTETS)
            yield Source(f"{volume.node}/{seed_file.SEED}", data, volume)
        except NfError as error:
            _log.warning("no seed from %s: %s", volume.node, error)
    recover(places.esp_seed)
    if places.esp_seed.exists():
        yield Source(str(places.esp_seed), places.esp_seed.read_bytes())


def take_seed(places: Places, executor: Executor, *, by_hand: bool = False) -> bool:
    """Take the first seed that is new and good. True when there was one; what is wrong with the others is told."""
    for source in sources(places, executor):
        if identity.taken(source, places) and not by_hand:
            continue
        try:
            use(source, places, by_hand=by_hand)
        except DocumentError as error:
            for problem in error.problems:
                _log.error("%s", problem)
        except NfError as error:
            _log.error("%s", error)
        else:
            return True
    return False


def use(source: Source, places: Places, *, by_hand: bool = False) -> None:
    """Raises DocumentError, RefusedError, StorageError."""
    from images.appliance.seed import load_seed  # slow to import, and seldom needed

    seed = load_seed(source.data, file=source.name)
    identity.take(seed, source, places, by_hand=by_hand)
    token = "with" if seed.enrolment is not None else "without"
    _log.info("seed taken from %s: serial %s, %s enrolment", source.name, seed.serial, token)


def first_boot(places: Places, executor: Executor, sleep: Callable[[float], None] = time.sleep) -> int:
    waited = 0.0
    while not take_seed(places, executor):
        if identity.serial(places) or places.wiped.exists() or waited >= STICK_S:
            break
        sleep(_LOOK_S)  # a USB port needs seconds after power-on
        waited += _LOOK_S
    if not identity.serial(places):
        _log.warning("NO SEED: put in a volume labelled %s, or copy one at the console", SEED_LABEL)
    return 0


def await_enrolled(places: Places, executor: Executor, sleep: Callable[[float], None] = time.sleep) -> int:
    while not identity.enrolled(places):
        sleep(_LOOK_S)
    cleared, left = identity.destroy_token(places, sticks(executor, label=SEED_LABEL), executor)
    for name in cleared:
        _log.info("enrolled: the token on %s is destroyed", name)
    for name in left:
        _log.warning("enrolled, and the used token still lies on %s: destroy that medium", name)
    return 0


def main(arguments: list[str] | None = None) -> int:
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="nf-first-boot: %(message)s")
    parser = argparse.ArgumentParser(prog="nf-first-boot")
    parser.add_argument("what", choices=["seed", "enrolled"])
    given = parser.parse_args(arguments)
    places, executor = Places(), System()
    try:
        if given.what == "enrolled":
            return await_enrolled(places, executor)
        return first_boot(places, executor)
    except (NfError, OSError) as error:
        _log.error("%s", error)
        return 1


if __name__ == "__main__":
    sys.exit(main())
