"""When Python's cyclic garbage collector runs, around TensorFlow.

Importing TensorFlow leaves some 270,000 objects that live for ever; a full collection walks them all, 200 ms
in which no Python code runs. Three rules keep that away from requests:

1. A *process* that pyserve owns freezes those objects once, right after the import (`freeze_imported`).
   Models are never frozen: a frozen cycle is not collected any more, so an unloaded model would stay in
   memory, and a loaded model adds too few objects (6,000 for 240 operations) for freezing to pay. An embedded
   server never freezes somebody else's objects.
2. Automatic collection is off while models load (`paused`), since importing a graph makes objects by the
   thousand and would start one full collection after the other.
3. Unloading ends with a collection (`collect`): a graph is full of cycles, so without it the memory would
   stay until some later request happens to start a full collection. A batch of loads ends with one too
   (`collect_after_loads`), so that what they left is not found during a request.
"""

from __future__ import annotations

import ctypes
import gc
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_lock = threading.Lock()
_pauses = 0  # guarded by _lock: loads under way, in any thread
_enabled_before = False  # guarded by _lock: whether the first pause has to be undone by the last
_uncollected = (
    False  # a load has ended since the last deliberate collection; a lost update costs one collection
)


@contextmanager
def paused() -> Iterator[None]:
    """Automatic collection is off inside. Nests, also across threads: the last one out turns it on again.

    Where it was off already, it stays off.
    """
    global _pauses, _enabled_before, _uncollected
    with _lock:
        if _pauses == 0:
            _enabled_before = gc.isenabled()
            gc.disable()
        _pauses += 1
    try:
        yield
    finally:
        with _lock:
            _pauses -= 1
            _uncollected = True
            if _pauses == 0 and _enabled_before:
                gc.enable()


def collect() -> None:
    """Collect now, in this thread. 1 ms and up with frozen imports, 200 ms without."""
    global _uncollected
    _uncollected = False
    gc.collect()


def return_memory() -> None:
    """Collect, and give what is free back to the operating system; for the end of an unload.

    C's allocator keeps freed memory, in pieces, in an arena per thread: some 60 MB after a few swaps of a small
    model. Where the allocator has no such call, it decides for itself.
    """
    collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if os.name == "posix" else None
    if trim is not None:
        trim(0)


def collect_after_loads() -> None:
    """Collect if a load has ended since the last time, unless others are still under way."""
    if _uncollected and _pauses == 0:
        collect()


def freeze_imported() -> None:
    """Exempt everything that is alive now from all later collections.

    For a process that pyserve owns, once, right after TensorFlow's import and before the first load.
    """
    gc.collect()
    gc.freeze()
