import asyncio

from amqtt.adapters import BufferReader
from amqtt.mqtt.connect import ConnectPacket
from amqtt.mqtt.subscribe import SubscribePacket
from hypothesis import given
from hypothesis import strategies as st

from presenced_emulator.clients import connect_packet, encode_packet, read_packet, subscribe_packet

texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1)


async def read_back(data: bytes) -> tuple[int, bytes]:
    reader = asyncio.StreamReader()
    reader.feed_data(data)
    reader.feed_eof()
    packet = await read_packet(reader)
    assert reader.at_eof()
    return packet


@given(st.integers(0, 255), st.sampled_from([0, 1, 127, 128, 16383, 16384, 70000]))
def test_an_encoded_packet_is_read_back(head: int, length: int) -> None:
    body = bytes(length)
    assert asyncio.run(read_back(encode_packet(head, body))) == (head, body)


@given(texts, st.integers(0, 65535))
def test_connect_is_what_the_broker_understands(client_id: str, keep_alive: int) -> None:
    data = connect_packet(client_id, keep_alive)
    packet = asyncio.run(ConnectPacket.from_stream(BufferReader(data)))
    assert packet.client_id == client_id
    assert packet.keep_alive == keep_alive
    assert packet.proto_name == "MQTT"
    assert packet.proto_level == 4
    assert packet.clean_session_flag


@given(texts)
def test_subscribe_is_what_the_broker_understands(topic_filter: str) -> None:
    data = subscribe_packet(topic_filter)
    packet = asyncio.run(SubscribePacket.from_stream(BufferReader(data)))
    assert packet.payload.topics == [(topic_filter, 0)]
    assert packet.variable_header.packet_id == 1
