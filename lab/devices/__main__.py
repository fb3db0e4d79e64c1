"""Run one simulated device: `python -m lab.devices modem --config modem.yaml`."""

from __future__ import annotations

import argparse
import asyncio
import logging
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from lab.devices import encoder, modem, mux, receiver
from lab.devices.config import CONFIGS, DeviceConfig, EncoderConfig, ModemConfig, MuxConfig, ReceiverConfig, load
from lab.devices.control import RUN_DIR
from lab.devices.device import Device, Works
from lab.devices.settings import Settings
from nf.clock import Clock, RealClock
from nf.errors import NfError

STATE_DIR = Path("/var/lib/nf/device")


def make(config: DeviceConfig, path: Path, clock: Clock) -> Works:
    """The works of a device, with what was set before."""
    if isinstance(config, EncoderConfig):
        return encoder.Encoder(config, Settings(encoder.defaults(config), path), clock)
    if isinstance(config, MuxConfig):
        return mux.Mux(config, Settings(mux.defaults(config), path), clock)
    if isinstance(config, ModemConfig):
        return modem.Modem(config, Settings(modem.defaults(config), path), clock)
    if isinstance(config, ReceiverConfig):
        return receiver.Receiver(config, Settings(receiver.defaults(config), path), clock)
    raise TypeError(type(config).__name__)


async def run(config: DeviceConfig, *, run_dir: Path, state_dir: Path) -> None:
    """Until SIGTERM or SIGINT, through any number of reboots. Raises UnavailableError."""
    clock, loop, ended = RealClock(), asyncio.get_running_loop(), asyncio.Event()
    again = True
    while again and not ended.is_set():
        device = Device(
            config, make(config, state_dir / "settings.json", clock), clock, run_dir=run_dir, state_dir=state_dir
        )

        def end(device: Device = device) -> None:
            ended.set()
            device.stop()

        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, end)
        again = await device.run()


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="lab.devices", description="A simulated headend device with an SNMP agent.")
    parser.add_argument("kind", choices=sorted(CONFIGS))
    parser.add_argument("--config", type=Path, required=True, metavar="FILE")
    parser.add_argument("--run-dir", type=Path, default=RUN_DIR, metavar="DIR", help="where fades and faults are put")
    parser.add_argument("--state-dir", type=Path, default=STATE_DIR, metavar="DIR", help="what lasts through a restart")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    Device.keep_time()
    try:
        config = load(options.config, CONFIGS[options.kind])
        asyncio.run(run(config, run_dir=options.run_dir, state_dir=options.state_dir))
    except NfError as error:
        logging.getLogger("lab.devices").error("%s", error)  # noqa: TRY400  # said to a person, who has no use for a traceback
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
