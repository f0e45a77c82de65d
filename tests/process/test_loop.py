"""Tasks that run side by side, and the signals that end a program."""

import asyncio
import os
import signal
import ssl

import pytest

from certificates import Certificates
from presenced.system.loop import abort_transport, race, stop_signals


def test_race_ends_with_the_first_and_cancels_the_others() -> None:
    steps: list[str] = []

    async def loser() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            steps.append("cleaned up")

    async def winner() -> None:
        await asyncio.sleep(0)
        steps.append("won")

    asyncio.run(race(loser(), winner()))
    assert steps == ["won", "cleaned up"]


def test_race_raises_what_was_raised() -> None:
    async def fail() -> None:
        raise LookupError

    with pytest.raises(LookupError):
        asyncio.run(race(asyncio.sleep(60), fail()))


def test_race_raises_what_cleaning_up_raised() -> None:
    async def careless() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            raise LookupError

    with pytest.raises(LookupError):
        asyncio.run(race(careless(), asyncio.sleep(0.01)))


def test_cancelled_race_cleans_up() -> None:
    steps: list[str] = []

    async def runner() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            steps.append("cleaned up")

    async def scenario() -> None:
        task = asyncio.create_task(race(runner(), asyncio.sleep(60)))
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(scenario())
    assert steps == ["cleaned up"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signals_set_the_event(number: signal.Signals) -> None:
    async def scenario() -> None:
        with stop_signals() as stop:
            os.kill(os.getpid(), number)
            async with asyncio.timeout(10):
                await stop.wait()
            os.kill(os.getpid(), number)  # a second one does no harm
            await asyncio.sleep(0.01)

    asyncio.run(scenario())


def test_a_tls_connection_that_was_closed_twice_is_aborted(certificates: Certificates) -> None:
    """Fails with a plain `abort` on Python 3.11.2."""

    async def scenario() -> None:
        accepted = asyncio.get_running_loop().create_future()
        server_tls, tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
        server_tls.load_cert_chain(certificates.server_cert, certificates.server_key)
        tls.load_verify_locations(certificates.ca)
        server = await asyncio.start_server(
            lambda _, writer: accepted.set_result(writer), "localhost", 0, ssl=server_tls
        )
        port = server.sockets[0].getsockname()[1]
        reader, writer = await asyncio.open_connection("localhost", port, ssl=tls)
        transport = (await accepted).transport
        transport.close()
        transport.close()
        abort_transport(transport)
        assert await reader.read() == b""
        writer.close()
        server.close()

    asyncio.run(scenario())
