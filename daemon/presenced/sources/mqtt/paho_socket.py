"""The socket of a paho client on the event loop, with paho's interface for external event loops.

aiomqtt does this too, but it reads one packet per iteration of the loop, and it adds sockets to the
loop that another thread may have closed.
"""

import asyncio
import ssl
from collections.abc import Callable
from typing import Any

from paho.mqtt.client import MQTT_ERR_SUCCESS, Client

from presenced.system.loop import in_thread

_PACKETS_PER_TURN = 100
_PING_CHECK_EVERY = 1.0


class PahoSocket:
    """Connects a paho client, once, and reads and writes for it until `close`.

    `messages` returns how many messages paho has delivered so far. `on_failure` is called with an
    exception of paho, after the socket was closed.
    """

    def __init__(
        self,
        paho: Client,
        messages: Callable[[], int],
        on_failure: Callable[[str, Exception], None],
    ) -> None:
        self._paho = paho
        self._messages = messages
        self._on_failure = on_failure
        self._loop = asyncio.get_running_loop()
        self._pinging: asyncio.Task[None] | None = None
        self._connecting = False
        self._closed = False
        paho.on_socket_open = None
        paho.on_socket_close = self._on_close
        paho.on_socket_register_write = self._on_register_write
        paho.on_socket_unregister_write = self._on_unregister_write

    async def open(self, connect: Callable[[], Any]) -> None:
        """Run paho's `connect`, which blocks until TLS is negotiated, then send its CONNECT.

        Raises OSError. After `close` no CONNECT is sent, because it would end the next connection
        with this client ID.
        """

        def work() -> None:
            try:
                connect()
            finally:
                self._connecting = False
                if self._closed and (sock := self._paho.socket()) is not None:
                    sock.close()

        self._connecting = True
        await in_thread(work, name="mqtt connect")
        sock: Any = self._paho.socket()
        self._loop.add_reader(sock, self._read)
        self._loop.add_writer(sock, self._write)
        self._pinging = self._loop.create_task(self._ping())

    def close(self) -> None:
        """Close the socket in any state."""
        self._closed = True
        sock = self._paho.socket()
        if sock is not None and not self._connecting:  # else the thread closes it
            self._on_close(None, None, sock)
            sock.close()

    def _on_close(self, _client: Any, _userdata: Any, sock: Any) -> None:
        if self._pinging is not None and sock.fileno() >= 0:
            self._pinging.cancel()
            self._loop.remove_reader(sock)
            self._loop.remove_writer(sock)

    def _on_register_write(self, _client: Any, _userdata: Any, sock: Any) -> None:
        if self._pinging is not None:  # else it is the thread's CONNECT, which `open` sends
            self._loop.add_writer(sock, self._write)

    def _on_unregister_write(self, _client: Any, _userdata: Any, sock: Any) -> None:
        if sock.fileno() >= 0:
            self._loop.remove_writer(sock)

    async def _ping(self) -> None:
        """Have paho send PINGREQ and check for its answer."""
        try:
            while self._paho.loop_misc() == MQTT_ERR_SUCCESS:  # noqa: ASYNC110 - paho is polled
                await asyncio.sleep(_PING_CHECK_EVERY)
        except Exception as error:  # noqa: BLE001 - reported; the connection cannot be used any more
            self._fail("ping", error)

    def _read(self) -> None:
        """Read up to 100 packets: paho reads one per call."""
        if self._closed:
            return
        try:
            for _ in range(_PACKETS_PER_TURN):
                before = self._messages()
                self._paho.loop_read()
                if self._messages() == before and not self._decrypted():
                    return
        except Exception as error:  # noqa: BLE001 - reported; the connection cannot be used any more
            self._fail("read", error)
            return
        if self._decrypted():  # the selector does not see these bytes
            self._loop.call_soon(self._read)

    def _write(self) -> None:
        try:
            self._paho.loop_write()
        except Exception as error:  # noqa: BLE001 - reported; the connection cannot be used any more
            self._fail("write", error)

    def _decrypted(self) -> int:
        """Return how many bytes TLS has decrypted and paho has not read yet."""
        sock = self._paho.socket()
        return sock.pending() if isinstance(sock, ssl.SSLSocket) else 0

    def _fail(self, where: str, error: Exception) -> None:
        self.close()
        self._on_failure(where, error)
