"""A fleet index as SearchIndex answers it: `python -m benchmarks.index_server THINGS PORT`.

The rows are made of their numbers, so that the server keeps nothing and costs little. Signatures
are not checked. Of the things 90 % are connected; each has a type, two attributes and a group.
"""

import sys
import time

from aiohttp import web

from benchmarks.events import client_id

__all__ = ["GROUPS", "TYPES"]

GROUPS, TYPES, PAGE = 200, 20, 100


class Index:
    """The index of so many things, which connected or disconnected up to a day ago."""

    def __init__(self, things: int) -> None:
        self._things = things
        self._now = round(time.time() * 1000)

    def page(self, token: str | None) -> dict[str, object]:
        """An answer of SearchIndex; the token is the number of its first thing."""
        begin = int(token or 0)
        end = min(begin + PAGE, self._things)
        rows = [self._row(number) for number in range(begin, end)]
        return {"things": rows, "nextToken": str(end) if end < self._things else None}

    async def search(self, request: web.Request) -> web.Response:
        """A page as it is asked for."""
        return web.json_response(self.page((await request.json()).get("nextToken")))

    async def describe(self, _: web.Request) -> web.Response:
        """An index that is up."""
        return web.json_response({"indexName": "AWS_Things", "indexStatus": "ACTIVE"})

    async def list_groups(self, request: web.Request) -> web.Response:
        """All groups on one page; no billing groups."""
        if request.path == "/billing-groups":
            return web.json_response({"billingGroups": []})
        names = [{"groupName": f"group-{number}"} for number in range(GROUPS)]
        return web.json_response({"thingGroups": names})

    async def describe_group(self, request: web.Request) -> web.Response:
        """A group below the first one."""
        name = request.match_info["name"]
        metadata = {} if name == "group-0" else {"parentGroupName": "group-0"}
        body = {"thingGroupName": name, "version": 1, "thingGroupMetadata": metadata}
        return web.json_response(body)

    def _row(self, number: int) -> dict[str, object]:
        connected = number % 10 != 0
        since = self._now - number * 7919 % 86_400_000
        seen: dict[str, object] = {"connected": connected, "timestamp": since}
        if not connected:
            seen["disconnectReason"] = "CONNECTION_LOST"
        return {
            "thingName": client_id(number),
            "thingId": f"00000000-0000-4000-8000-{number:012d}",
            "thingTypeName": f"type-{number % TYPES}",
            "thingGroupNames": [f"group-{number % GROUPS}"],
            "attributes": {"site": f"site-{number % 50}", "model": f"T-{number % 7}"},
            "connectivity": seen,
        }


def main() -> None:
    """Serve until ended."""
    index = Index(int(sys.argv[1]))
    application = web.Application()
    application.router.add_post("/indices/search", index.search)
    application.router.add_get("/indices/{index}", index.describe)
    application.router.add_get("/thing-groups", index.list_groups)
    application.router.add_get("/billing-groups", index.list_groups)
    application.router.add_get("/thing-groups/{name}", index.describe_group)
    web.run_app(application, host="127.0.0.1", port=int(sys.argv[2]), access_log=None, print=None)


if __name__ == "__main__":
    main()
