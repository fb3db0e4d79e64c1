"""What may be done to the two slots, each asked for again before it is done. Never are both of them bad by our doing.

A slot's status is RAUC's word about what was written into it; good and bad are the boot loader's variables. The two
are independent: an install that is refused leaves the variables alone, and marking a slot active makes it good
whatever it holds.
"""

from __future__ import annotations

from images.update.rauc import Installer
from nf.errors import DriverError, RefusedError


async def activate(rauc: Installer, fingerprint: dict[str, str]) -> None:
    """The other slot is started next, if it is what was installed: its status, digests and counts are looked at first.

    Raises RefusedError, DriverError.
    """
    status = await rauc.status()
    other, booted = status.other, status.booted
    for slot in other.all:
        if slot.status != "ok":
            raise RefusedError(
                f"slot {slot.name} is {slot.status or 'never written'}: it is not activated",
                where="rauc",
                remedy="install it again",
            )
    if other.fingerprint != fingerprint:
        raise RefusedError(
            f"slot {other.slot.bootname} holds something else than what was installed",
            where="rauc",
            remedy="somebody else has written it; install it again",
        )
    if not booted.good:
        raise RefusedError(
            f"slot {booted.slot.bootname}, which runs, is not marked good: there would be no way back",
            where="rauc",
            remedy="wait until it is; see nf-health.service",
        )
    await rauc.mark("active", other.slot.name)
    if (await rauc.status()).primary != other.slot.name:
        raise DriverError("the boot loader's variables did not change", where="rauc", remedy="see that /efi is mounted")


async def mark_good(rauc: Installer) -> None:
    """The slot that runs; raises DriverError when that is not to be seen afterwards."""
    await rauc.mark("good", "booted")
    if not (await rauc.status()).booted.good:
        raise DriverError("the boot loader's variables did not change", where="rauc", remedy="see that /efi is mounted")


async def mark_other_bad(rauc: Installer) -> bool:
    """False, and nothing is changed, when the slot that runs is not good itself."""
    status = await rauc.status()
    if not status.booted.good:
        return False
    # Also when it is bad already: after a roll-back its variables are "good, tried", and GRUB forgets what was tried.
    await rauc.mark("bad", status.other.slot.name)
    return True


async def other_first(rauc: Installer) -> bool:
    """Go back by the next start. False, and nothing is changed, when the other slot is not good.

    This one is not marked bad: if the other does not start either, a sick system is better than none.
    """
    status = await rauc.status()
    if not status.other.good:
        return False
    await rauc.mark("active", status.other.slot.name)
    return True
