"""An ordered spool on disk: encrypted, append-only, bounded. What was synced is there after a power loss, or is told.

    spool = Spool(directory, key, b"what it is for", limit_octets=10 << 30)
    spool.append_many(records)           # numbers in order; a whole batch or nothing (SpoolFullError)
    await spool.sync()                   # now they are durable
    reader = spool.reader()              # from the first that is not confirmed
    batch = reader.take()                # None: no more yet, `await spool.wait(reader.next)`
    spool.confirm(batch.last)            # not needed any more; whole segments are deleted

One process writes a spool; it may have several readers in that process. All is for one event loop, no call blocks for
longer than a write to the page cache, but a `confirm` that deletes a segment. `recovery` says what the last power
loss took away and what was found damaged; a reader raises SpoolDamagedError with the number when it comes to such a
place, and `Reader.skip` goes on behind it.
"""

from lawful_intercept.spool.errors import SpoolDamagedError, SpoolFullError
from lawful_intercept.spool.reader import Batch, Reader
from lawful_intercept.spool.recovery import Recovery
from lawful_intercept.spool.store import Spool

__all__ = ["Batch", "Reader", "Recovery", "Spool", "SpoolDamagedError", "SpoolFullError"]
