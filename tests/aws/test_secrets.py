"""No secret in any log: presenced's own, aiohttp's and asyncio's at level debug, awscrt's off."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

from aws_server import KEY_ID, SECRET, TOKEN

SOURCE = Path(__file__).parents[2] / "daemon"

# A run through a success, each kind of refusal, a renewal that fails, and a lost connection, in
# which everything that can log does, and each error is logged with its traceback.
RUN = """
import asyncio, logging, sys, time
sys.path[:0] = [{tests!r}]
from aws_server import AwsServer, Says, error, make_client
from presenced.aws import operations
from presenced.aws.errors import AwsError
from presenced.system import log
from presenced.system.loop import Clocks

log.configure("debug", {format!r})
logging.getLogger().setLevel(logging.DEBUG)
logger = log.get_logger("aws")

async def scenario():
    said = "Signature expired: x-amz-security-token:{token} Credential={key_id}/2026"
    answers = [
        Says(),
        error(403, "InvalidSignatureException", said),
        error(403, "AccessDeniedException", said),
        error(400, "InvalidRequestException", "arn:aws:sts::111122223333:assumed-role/x {key_id}"),
        error(429, "ThrottlingException", said),
        Says(200, b'{{"connected": "{token}"}}'),
        Says(302, said.encode(), None, {{"Location": "/{token}"}}),
    ]
    async with AwsServer(list(answers)) as aws:
        client = make_client(aws.url, Clocks(time.monotonic, time.time))
        for _ in answers:
            await ask(client)
    await ask(client)
    logger.debug("client", client=repr(client), held=repr(client.credentials.held))
    await client.close()

async def ask(client):
    try:
        answer = await client.send(operations.get_thing_connectivity_data("x"), attempts=1)
        logger.debug("answer", answer=repr(answer))
    except AwsError as error:
        logger.exception("failed", problem=str(error), details=repr(error))

asyncio.run(scenario(), debug=True)
"""


@pytest.mark.parametrize("format_", ["console", "json"])
def test_logs_have_no_secret(format_):
    code = RUN.format(
        tests=str(Path(__file__).parents[1]),
        format=format_,
        token=TOKEN,
        key_id=KEY_ID,
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONASYNCIODEBUG": "1"},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    output = done.stdout + done.stderr
    assert output.count("failed") >= 6
    for secret in (SECRET, TOKEN, KEY_ID, "111122223333", "Signature=", "Authorization"):
        assert secret not in output


def test_the_runtimes_log_is_never_turned_on():
    """At level info it has each request that it signs, with the session token."""
    for module in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(module.read_text())):
            name = getattr(node, "attr", getattr(node, "id", ""))
            assert name not in ("init_logging", "set_log_level"), module
