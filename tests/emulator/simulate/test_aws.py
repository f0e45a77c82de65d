"""Simulations keep away from AWS IoT Core."""

import asyncio

import pytest

from presenced.settings import SettingsError
from presenced.settings.partitions import is_aws
from presenced_emulator.simulate.command import refuse_aws


@pytest.mark.parametrize(
    "name",
    [
        "abc-ats.iot.eu-west-1.amazonaws.com",
        "ABC-ats.IoT.eu-west-1.amazonaws.com.",
        "abc.ats.iot.cn-north-1.amazonaws.com.cn",
        "vpce-1.iot.us-east-1.vpce.amazonaws.com",
        "abc-ats.iot.eusc-de-east-1.amazonaws.eu",
        "abc-ats.iot.US-ISOB-East-1.sc2s.sgov.gov",
    ],
)
def test_endpoints_of_aws_are_refused(name: str) -> None:
    assert is_aws(name)
    with pytest.raises(SettingsError, match=r"is AWS IoT Core, which lets no client publish") as no:
        asyncio.run(refuse_aws(name))
    assert "mosquitto" in str(no.value)


@pytest.mark.parametrize(
    "name",
    [
        "localhost",
        "ec2-192-0-2-1.eu-west-1.compute.amazonaws.com",
        "abc.elb.eu-west-1.amazonaws.com",
        "x.iot.eu-west-1.amazonaws.com.example",
    ],
)
def test_other_brokers_are_not_refused(name: str) -> None:
    assert not is_aws(name)


def test_an_unknown_host_is_left_to_the_connection() -> None:
    asyncio.run(refuse_aws("nowhere.invalid"))
    asyncio.run(refuse_aws("localhost"))
