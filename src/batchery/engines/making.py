"""From an order to a container that can be started: its image, the prolog, the container itself."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from msgspec.structs import replace

from batchery.engines.containerspec import create_request, platform, properties
from batchery.engines.engine import Order
from batchery.engines.podspec import extend
from batchery.engines.runtime import RuntimeFault

if TYPE_CHECKING:
    from batchery.engines.boxed import Boxed

DAEMON: Final = "Error response from daemon: "

log = logging.getLogger("batchery.container")


class NotStarted(Exception):
    """It cannot be started; the text is container.reason."""


class NoImage(NotStarted):
    """Since its image cannot be had."""


class Making:
    """Of one attempt. It can be cancelled until it is ``creating``: what the runtime then makes has to be known."""

    def __init__(self, boxed: "Boxed", order: Order) -> None:
        self.boxed = boxed
        self.engine = boxed.engine
        self.order = order
        self.container = order.containers[0]
        self.wanted = properties(self.container.spec)
        self.platform = platform(self.wanted)
        self.creating = False

    async def run(self) -> None:
        """Raises NotStarted."""
        boxed, engine = self.boxed, self.engine
        await self._image()
        Path(boxed.facts.log_path).parent.mkdir(parents=True, exist_ok=True)
        if engine.prologs:
            boxed.tell_starting()
            await self._prolog()
        with open(boxed.facts.log_path, "ab") as file:
            boxed.facts = replace(boxed.facts, before=file.tell())
        try:
            request = create_request(
                self.order, self.wanted, engine.settings, engine.owner, boxed.facts, engine.room.gpus, engine.name
            )
            if boxed.pod_name:
                extend(request, self.order, boxed.facts, boxed.pod_name)
        except ValueError as error:
            raise NotStarted(f"CannotCreateContainerError: {error}") from None
        await self._create(request)

    async def _image(self) -> None:
        """What has to be seen to before a container can be made of it; most images are just tried."""
        policy, image, host = self.engine.settings.pull, self.container.image, self.engine.host
        if host is not None and (why := host.why_missing(image)):
            raise NoImage(why)
        if policy == "always":
            await self._pull()
        if not self.platform and host is None:
            return
        here = await self.engine.sure(lambda: self.engine.runtime.image(image))
        if policy == "missing" and (here is None or not here.fits(self.platform)):
            await self._pull()
            here = await self.engine.sure(lambda: self.engine.runtime.image(image))
        if here is not None and not here.fits(self.platform):
            raise NotStarted(
                f"CannotPullContainerError: image {image} is for {here.system}/{here.architecture}, and "
                f"runtimePlatform asks for {self.platform}"
            )

    async def _pull(self) -> None:
        self.boxed.tell_starting()
        try:
            await self.engine.pulls.get(self.container.image, self.platform, self.container.login)
        except RuntimeFault as fault:
            raise NoImage(f"CannotPullContainerError: {DAEMON}{fault.message}") from None
        except OSError as error:
            raise NotStarted(f"CannotPullContainerError: {error}") from None

    async def _prolog(self) -> None:
        """On the host, in the job's environment, its output in the job's log."""
        try:
            code = await self.engine.prologs.run(self.boxed.key, self.container.environment, self.boxed.facts.log_path)
        except OSError as error:
            raise NotStarted(f"CannotStartContainerError: prolog: {error.strerror}") from None
        if code is None:
            raise NotStarted("CannotStartContainerError: prolog was interrupted, and is not begun twice")
        if code:
            raise NotStarted(f"CannotStartContainerError: prolog exited with {code}")

    async def _create(self, request: dict[str, Any]) -> None:
        image, name = self.container.image, self.boxed.name
        for again in (True, False):
            self.creating = True
            try:
                await self.engine.sure(lambda: self.engine.runtime.create(name, request, self.platform))
                return
            except RuntimeFault as fault:
                if fault.status == 409 or "already in use" in fault.message:
                    return  # ours: the answer to a create before this one was lost
                if not again or "no such image" not in fault.message.lower():
                    raise NotStarted(f"CannotCreateContainerError: {DAEMON}{fault.message}") from None
            self.creating = False
            if self.engine.settings.pull == "never":
                raise NoImage(f'CannotPullContainerError: image {image} is not here, and container.pull is "never"')
            await self._pull()
