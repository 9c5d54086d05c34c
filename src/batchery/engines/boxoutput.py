"""A container's output, copied from the runtime's log to ours. The bytes in ours say where to go on after a break."""

import asyncio
import contextlib
import logging
import os
from typing import TYPE_CHECKING, Final

from batchery.engines.runtime import RuntimeFault

if TYPE_CHECKING:
    from batchery.engines.boxed import Boxed

SHORT_S: Final = 0.25  #: of a life: output is live from then on
AGAIN_S: Final = 0.5  #: between two tries to reach the runtime

log = logging.getLogger("batchery.container")


async def follow(boxed: "Boxed") -> None:
    """Copy until it ends. Of one that ends soon it is asked for once, and for no more than there is: Podman takes half
    a second to see the end of what it follows.
    """
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(SHORT_S):
            await boxed.exited.wait()
    while True:
        try:
            with open(boxed.facts.log_path, "ab", buffering=0) as file:
                await _copy(boxed, file.fileno())
            return
        except (ConnectionError, TimeoutError):
            await asyncio.sleep(AGAIN_S)
        except (OSError, RuntimeFault) as error:
            log.warning("the output of %s is lost from here on: %s", boxed.key, error)
            return


async def _copy(boxed: "Boxed", fd: int) -> None:
    known = os.fstat(fd).st_size - boxed.facts.before
    output = boxed.engine.runtime.output(boxed.name, follow=not boxed.exited.is_set())
    async with contextlib.aclosing(output):
        async for piece in output:
            if known >= len(piece):
                known -= len(piece)
                continue
            os.write(fd, piece[known:])
            known = 0
