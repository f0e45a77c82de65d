"""A real queue server that speaks the protocol of Amazon SQS, for tests: ElasticMQ on loopback."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import boto3

from brokers import free_port
from java_server import JavaServer

_REGION = "eu-west-1"


class SqsServer(JavaServer):
    """An ElasticMQ on a fixed loopback port, so that it can be restarted under its clients.

    Its queues are in memory unless it is `durable`: then they outlive it, also when it is killed,
    at half the speed.
    """

    def __init__(self, directory: Path, *, durable: bool = False) -> None:
        self._client: Any = None
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        config = directory / "elasticmq.conf"
        node = {"protocol": "http", "host": "127.0.0.1", "port": self.port, "context-path": ""}
        # Without a delay of writes nothing is lost when the process is killed.
        database = f"jdbc:h2:{directory / 'queues'};WRITE_DELAY=0"
        settings = {
            "node-address": node,
            "rest-sqs": {
                "enabled": True,
                "bind-hostname": "127.0.0.1",
                "bind-port": self.port,
                "sqs-limits": "strict",
            },
            "rest-stats": {"enabled": False},
            "aws": {"region": _REGION, "accountId": "000000000000"},
            "messages-storage": {"enabled": durable, "uri": database},
        }
        # HOCON is a superset of JSON.
        lines = [f"{json.dumps(key)} = {json.dumps(value)}\n" for key, value in settings.items()]
        config.write_text('include classpath("application.conf")\n' + "".join(lines))
        super().__init__(
            "elasticmq",
            directory,
            ["org.elasticmq.server.Main"],
            ready="Started SQS rest server",
            properties={"config.file": str(config)},
        )

    def client(self) -> Any:
        """The boto3 client of it, which threads may share; making one takes a tenth of a second."""
        if self._client is None:
            self._client = boto3.client(
                "sqs",
                endpoint_url=self.url,
                region_name=_REGION,
                aws_access_key_id="key",
                aws_secret_access_key="secret",
            )
        return self._client

    def create_queue(self, name: str, **attributes: str) -> str:
        """Create a queue and return its URL."""
        url: str = self.client().create_queue(QueueName=name, Attributes=attributes)["QueueUrl"]
        return url

    def send(self, queue_url: str, bodies: Iterable[str]) -> None:
        """Send messages, in batches of ten."""
        client, waiting = self.client(), list(bodies)
        for first in range(0, len(waiting), 10):
            entries = [
                {"Id": str(number), "MessageBody": body}
                for number, body in enumerate(waiting[first : first + 10])
            ]
            answer = client.send_message_batch(QueueUrl=queue_url, Entries=entries)
            assert not answer.get("Failed"), answer

    def counts(self, queue_url: str) -> Mapping[str, int]:
        """How many messages are `visible` and how many are `in_flight`."""
        names = {
            "visible": "ApproximateNumberOfMessages",
            "in_flight": "ApproximateNumberOfMessagesNotVisible",
        }
        answer = self.client().get_queue_attributes(
            QueueUrl=queue_url, AttributeNames=list(names.values())
        )
        return {key: int(answer["Attributes"][name]) for key, name in names.items()}
