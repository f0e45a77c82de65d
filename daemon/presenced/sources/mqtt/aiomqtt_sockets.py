"""aiomqtt's client with sturdier handling of its socket.

aiomqtt 2.5 connects in the loop's executor, which the end of the process waits for; reads one
packet per turn of the loop; and leaves a socket that is closed at the wrong moment to chance.
"""

import asyncio
import ssl
from abc import abstractmethod
from collections.abc import Awaitable
from typing import Any, TypeVar

import aiomqtt

from presenced.system.loop import in_thread

T = TypeVar("T")

_PACKETS_PER_TURN = 100


class SocketClient(aiomqtt.Client):
    """An aiomqtt client for one connection: `dial` once, then `hang_up` at the latest."""

    def __init__(self, *args: Any, **more: Any) -> None:
        """Takes what aiomqtt.Client takes."""
        super().__init__(*args, **more)
        self._arrived = 0
        self._dialling = False
        self._closing = False

    async def dial(self) -> None:
        """Connect by TCP and TLS, queue CONNECT, and wait for the CONNACK.

        Raises OSError or aiomqtt.MqttError. The blocking part has a thread of its own; when the
        waiting is cancelled and `hang_up` called, the thread's socket is closed once it has one,
        before the CONNECT is written: it would take the client ID from the next connection.
        """
        self._dialling = True
        await in_thread(self._dial, name="mqtt connect")
        await self.__aenter__()

    def hang_up(self) -> None:
        """Close the socket, whatever state it is in."""
        self._closing = True
        if self._misc_task is not None:
            self._misc_task.cancel()
        if not self._dialling:  # else paho is in the hands of the thread, and `_adopt` hangs up
            self._client._sock_close()  # noqa: SLF001 - paho offers no other way

    @abstractmethod
    def broken(self, where: str, error: Exception) -> None:
        """Called when the library fails on this connection, which is closed already."""

    def _dial(self) -> None:
        try:
            super()._client_connect()
        finally:
            self._dialling = False

    def _client_connect(self) -> None:
        """Nothing: `dial` has connected by the time aiomqtt calls this in its executor."""

    async def _wait_for(self, fut: Awaitable[T], timeout: float | None) -> T:  # noqa: ASYNC109
        """Bound a wait, as aiomqtt does, but without asyncio.wait_for.

        Before Python 3.12 that one swallows a cancellation that comes together with the result,
        and stopping would wait for ever.
        """
        try:
            async with asyncio.timeout(self.timeout if timeout is None else timeout):
                return await asyncio.shield(fut)  # others look at it too
        except TimeoutError:
            raise aiomqtt.MqttError("Operation timed out") from None

    def _on_socket_open(self, client: Any, userdata: Any, sock: Any) -> None:  # noqa: ARG002
        self._loop.call_soon_threadsafe(self._adopt, sock)

    def _adopt(self, sock: Any) -> None:
        if self._closing:
            sock.close()
        elif sock.fileno() >= 0:
            self._loop.add_reader(sock.fileno(), self._read)
            self._misc_task = self._loop.create_task(self._misc_loop())

    def _on_socket_register_write(self, client: Any, userdata: Any, sock: Any) -> None:  # noqa: ARG002
        self._loop.call_soon_threadsafe(self._write_when_ready, sock)

    def _write_when_ready(self, sock: Any) -> None:
        if sock.fileno() >= 0:
            self._loop.add_writer(sock.fileno(), self._write)

    def _on_socket_unregister_write(self, client: Any, userdata: Any, sock: Any) -> None:  # noqa: ARG002
        if sock.fileno() >= 0:
            self._loop.remove_writer(sock.fileno())

    async def _misc_loop(self) -> None:
        """Ping, and notice when nothing comes back."""
        try:
            await super()._misc_loop()
        except Exception as error:  # noqa: BLE001 - told; the connection is of no use any more
            self._fail("ping", error)

    def _read(self) -> None:
        """Read what has arrived: paho takes one packet at a time, and a batch is wanted."""
        try:
            for _ in range(_PACKETS_PER_TURN):
                before = self._arrived
                self._client.loop_read()
                if self._arrived == before and not self._decrypted():
                    return
        except Exception as error:  # noqa: BLE001 - told; the connection is of no use any more
            self._fail("read", error)
            return
        if self._decrypted():  # which the selector does not see
            self._loop.call_soon(self._read)

    def _write(self) -> None:
        try:
            self._client.loop_write()
        except Exception as error:  # noqa: BLE001 - told; the connection is of no use any more
            self._fail("write", error)

    def _decrypted(self) -> int:
        """Bytes that TLS has decrypted and paho has not read yet."""
        sock = self._client.socket()
        return sock.pending() if isinstance(sock, ssl.SSLSocket) else 0

    def _fail(self, where: str, error: Exception) -> None:
        self._client._sock_close()  # noqa: SLF001 - paho offers no other way
        self.broken(where, error)
