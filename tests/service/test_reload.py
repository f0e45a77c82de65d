"""A reload that fails by an error in presenced is reported like one with wrong settings."""

import asyncio

import aiohttp

from brokers import free_port
from presenced.service.service import Service
from presenced.settings import Settings, load_settings
from presenced.settings.files import FileSnapshot
from waiting import until


def test_an_error_in_presenced_is_a_failed_reload_until_the_next_one() -> None:
    environ = {
        "PRESENCED_MQTT__ENDPOINT": "localhost",
        "PRESENCED_MQTT__PORT": str(free_port()),
        "PRESENCED_MQTT__TLS": "false",
        "PRESENCED_METRICS__LISTEN": "127.0.0.1:0",
    }
    made = load_settings(None, environ=environ)
    loads: list[FileSnapshot] = []

    def load(snapshot: FileSnapshot) -> Settings:
        loads.append(snapshot)
        if len(loads) == 1:
            raise RuntimeError
        return made

    async def successful(service: Service) -> bool:
        url = f"http://127.0.0.1:{service.port}/metrics"
        async with aiohttp.ClientSession() as session, session.get(url) as answer:
            return "presenced_config_last_reload_successful 1" in await answer.text()

    async def main() -> None:
        service = Service(made, load)
        stop = asyncio.Event()
        running = asyncio.create_task(service.run(stop))
        try:
            await until(lambda: service.readiness().text != "starting" or running.done())
            (problem,) = await service.reload()
            assert "log" in problem
            assert not await successful(service)
            assert await service.reload() == []
            assert await successful(service)
        finally:
            stop.set()
            await running

    asyncio.run(main())
