"""One address that an application is served on."""

from ssl import SSLContext

from aiohttp import web

from presenced.settings import ListenAddress

__all__ = ["Endpoint", "ListenerError"]


class ListenerError(Exception):
    """The address cannot be listened on."""


class Endpoint:
    """Serves an application on an address until closed.

    No host means all addresses; port 0 takes a free one, which `port` then tells. `key` is the
    setting that holds the address.
    """

    def __init__(
        self,
        app: web.Application,
        address: ListenAddress,
        *,
        key: str,
        context: SSLContext | None = None,
    ) -> None:
        self.port = address.port
        self._host = address.host
        self._key = key
        self._context = context
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)

    async def open(self) -> None:
        """Begin to listen; raises `ListenerError` that says why it cannot."""
        await self._runner.setup()
        site = web.TCPSite(self._runner, self._host, self.port, ssl_context=self._context)
        try:
            await site.start()
        except OSError as error:
            await self._runner.cleanup()
            raise ListenerError(
                f"cannot listen on {self._host or ''}:{self.port}: {error.strerror or error}. "
                f"Stop what uses the address, or set {self._key} to another"
            ) from error
        self.port = self._runner.addresses[0][1]

    async def close(self) -> None:
        """Stop listening."""
        await self._runner.cleanup()
