"""Text in blocks: after any change it equals a fresh rendering, also as gzip."""

import gzip
import shutil
import subprocess
import zlib
from itertools import chain

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from described_fleet import DescribedFleet
from presenced.fleet import Description
from presenced.metrics.catalog import PER_CLIENT
from presenced.metrics.exposition import gzip_parts
from presenced.metrics.metric import CHUNK, Block
from presenced.metrics.series import series_blocks
from presenced.presence import Client, State

BEFORE = CHUNK + 3
# Clients that exist from the start, some in each chunk, and clients that do not.
names = st.one_of(
    st.sampled_from(["0", "1", str(CHUNK // 2), str(CHUNK - 1), str(CHUNK), str(BEFORE - 1)]),
    st.sampled_from(["x", "long " * 25, 'quoted" 1', "ünïcode"]),
)
steps = st.one_of(
    st.tuples(
        st.just("show"),
        names,
        st.sampled_from([State.ONLINE, State.OFFLINE]),
        st.sampled_from([0.0, 7.5, 1672742949.123, 1672742950.0, 1e12]),
    ),
    st.tuples(st.just("describe"), names, st.sampled_from(["", "valve", "pump of any length"])),
    st.tuples(st.just("drop"), names),
    st.tuples(st.just("scrape")),
)


class Rendered:
    """Series, and the clients that they belong to."""

    def __init__(self) -> None:
        self.fleet = DescribedFleet()
        self.clients = self.fleet.clients
        self.series = self.fleet.series()
        for number in range(BEFORE):
            self.show(str(number), State.ONLINE, number / 8)

    def show(self, name: str, state: State, transition: float) -> None:
        is_new = name not in self.clients
        client = self.clients.setdefault(name, Client(name))
        client.state, client.transition = state, transition
        (self.series.add if is_new else self.series.show)(client)

    def describe(self, name: str, thing_type: str) -> None:
        self.fleet.descriptions[name] = Description(thing_type, {})
        self.series.describe(self.clients.get(name, Client(name)))

    def drop(self, name: str) -> None:
        self.series.drop(self.clients.pop(name, Client(name)))

    def from_scratch(self) -> list[tuple[str, ...]]:
        """Each family as head and samples, rendered from scratch."""
        values = (
            lambda client: f"}} {1 if client.state is State.ONLINE else 0}",
            lambda client: f"}} {client.transition:.3f}",
            lambda client: f',thing_type="{self.fleet.describe(client).thing_type}"}} 1',
        )
        return [
            (
                f"# HELP {metric.name} {metric.help}",
                f"# TYPE {metric.name} {metric.kind}",
                *sorted(
                    f'{metric.name}{{client_id="{escaped(client.client_id)}"{value(client)}'
                    for client in self.clients.values()
                ),
            )
            for metric, value in zip(PER_CLIENT.values(), values, strict=True)
        ]


def escaped(client_id: str) -> str:
    return client_id.replace('"', '\\"')


def families(text: str) -> list[tuple[str, ...]]:
    """The lines from one HELP to the next: the head as it is, the samples sorted."""
    lines = text.split("\n")
    assert lines.pop() == ""
    starts = [at for at, line in enumerate(lines) if line.startswith("# HELP")]
    return [
        (lines[start], lines[start + 1], *sorted(lines[start + 2 : end]))
        for start, end in zip(starts, [*starts[1:], len(lines)], strict=True)
    ]


def unzipped(blocks: list[Block]) -> bytes:
    """Decompressed by a strict reader: one member, nothing after it, a correct checksum."""
    reader = zlib.decompressobj(31)
    text = reader.decompress(b"".join(gzip_parts(blocks)))
    assert reader.eof
    assert reader.unused_data == b""
    return text


@settings(deadline=None)
@given(st.lists(steps, max_size=30))
def test_text_equals_a_fresh_rendering(changes: list[tuple[str, ...]]) -> None:
    rendered = Rendered()
    scraped: list[tuple[list[Block], bytes]] = []
    for name, *arguments in [*changes, ("scrape",)]:
        if name != "scrape":
            getattr(rendered, name)(*arguments)
            continue
        blocks = list(series_blocks([rendered.series]))
        text = b"".join(block.text for block in blocks)
        assert families(text.decode()) == rendered.from_scratch()
        assert unzipped(blocks) == text
        scraped.append((blocks, text))
    for blocks, text in scraped:
        assert b"".join(block.text for block in blocks) == text, (
            "a scrape keeps the text of its moment"
        )
        assert unzipped(blocks) == text


def test_unchanged_blocks_are_neither_rendered_nor_compressed_again() -> None:
    rendered = Rendered()
    before = list(series_blocks([rendered.series]))
    gzip_parts(before)
    rendered.show("0", State.OFFLINE, 9.0)
    after = list(series_blocks([rendered.series]))
    kept = [block for block in after if any(block is one for one in before)]
    assert len(after) == len(before) == len(kept) + 2, "its state and its transition"
    assert [block.deflated is None for block in after].count(True) == 2


@given(st.lists(st.binary(max_size=2000), max_size=8))
def test_any_texts_make_one_gzip_member(texts: list[bytes]) -> None:
    blocks = [Block(text) for text in texts]
    for order in (blocks, blocks[::-1], list(chain(blocks, blocks))):
        assert unzipped(order) == b"".join(block.text for block in order)


@pytest.mark.skipif(shutil.which("gzip") is None, reason="apt-get install gzip")
def test_the_gzip_program_reads_it() -> None:
    rendered = Rendered()
    blocks = list(series_blocks([rendered.series]))
    zipped = b"".join(gzip_parts(blocks))
    text = b"".join(block.text for block in blocks)
    assert gzip.decompress(zipped) == text
    unpacked = subprocess.run(["gzip", "-dc"], input=zipped, capture_output=True, check=True)
    assert unpacked.stdout == text
