"""The drop-in for a key in hardware, installed by its page, with a token of SoftHSM for the TPM."""

from collections.abc import Iterator

import pytest
import yaml

from documentation import blocks
from installations import SETTINGS, in_clone
from machines import Machine
from tokens import PIN
from units import METRICS, READY, UNIT, main_pid, publish, samples, state
from waiting import wait_for

PAGE = "docs/how-to/keep-the-key-in-hardware.md"
STORE = "/etc/tpm2_pkcs11"
SOFTHSM = f"SOFTHSM2_CONF={STORE}/softhsm2.conf"
KEY, AWAY = "/etc/presenced/certs/private.pem.key", "/run/private.pem.key"
MAKE_TOKEN = f"""
groupadd --system tss
mkdir -p {STORE}/tokens
echo 'directories.tokendir = {STORE}/tokens' > {STORE}/softhsm2.conf
export {SOFTHSM}
softhsm2-util --init-token --free --label presenced --so-pin so-pin --pin {PIN}
openssl pkcs8 -topk8 -nocrypt -in {KEY} -out /run/key.p8
softhsm2-util --import /run/key.p8 --token presenced --label presenced --id 01 --pin {PIN}
rm /run/key.p8
mv {KEY} {AWAY}
"""
# A node without a driver. The container's systemd cannot enforce the list of devices: no BPF.
MAKE_DEVICE = "mknod /dev/tpmrm0 c 10 251 && chgrp tss /dev/tpmrm0 && chmod 660 /dev/tpmrm0"
STORE_OF_SOFTHSM = f"[Service]\nEnvironment={SOFTHSM}\n"
CLEAN_UP = f"""
systemctl stop {UNIT}
rm -rf /etc/systemd/system/presenced.service.d /run/systemd/system/presenced.service.d
systemctl daemon-reload
mv {AWAY} {KEY}
rm -rf {STORE} /etc/presenced/certs/pin /dev/tpmrm0
groupdel tss
"""


@pytest.fixture(scope="module")
def in_hardware(installed: Machine) -> Iterator[Machine]:
    """The machine with the drop-in, and with presenced that has its key in a token."""
    machine = installed
    machine.run(MAKE_TOKEN)
    settings = yaml.safe_load(blocks(PAGE, "yaml")[0])
    settings["mqtt"]["endpoint"] = "localhost"
    library = machine.run(
        "ls /usr/lib/softhsm/libsofthsm2.so /usr/lib/*/softhsm/libsofthsm2.so || :"
    )
    settings["mqtt"]["tls"]["pkcs11"]["library"] = library.split()[0]
    machine.write("/etc/presenced/presenced.yaml", yaml.safe_dump(settings))
    machine.write(settings["mqtt"]["tls"]["pkcs11"]["pin_file"], f"{PIN}\n", mode=0o600)
    machine.write("/run/systemd/system/presenced.service.d/softhsm.conf", STORE_OF_SOFTHSM)
    machine.run(MAKE_DEVICE)
    machine.run("systemctl start mosquitto")
    try:
        # The one before makes key and certificate, which the machine has.
        machine.run(in_clone(blocks(PAGE, "sh")[1]))
        yield machine
    finally:
        machine.run(CLEAN_UP)
        machine.write("/etc/presenced/presenced.yaml", SETTINGS)


def test_it_connects_with_the_key_in_the_token(in_hardware: Machine) -> None:
    assert state(in_hardware) == "active"
    wait_for(lambda: in_hardware.get(READY)[0] == 200, what="readiness")
    publish(in_hardware, "connected", "sensor-0001", 1)
    wait_for(
        lambda: samples(in_hardware).get('iot_client_connected{client_id="sensor-0001"}') == 1,
        what="the client",
    )
    credentials = in_hardware.run(f"ls /run/credentials/{UNIT}").split()
    assert credentials == ["AmazonRootCA1.pem", "certificate.pem.crt", "pin"]
    environment = in_hardware.run(f"tr '\\0' '\\n' < /proc/{main_pid(in_hardware)}/environ")
    assert "PRESENCED_MQTT__TLS__KEY=" not in environment
    said = "".join(entry["MESSAGE"] for entry in in_hardware.journal(UNIT))
    assert PIN not in said + environment + in_hardware.get(METRICS)[1]


def test_it_may_use_the_one_device_and_the_store(in_hardware: Machine) -> None:
    shown = in_hardware.show(
        UNIT, "DevicePolicy", "PrivateDevices", "PrivateUsers", "SupplementaryGroups"
    )
    assert shown == {
        "DevicePolicy": "closed",
        "PrivateDevices": "no",
        "PrivateUsers": "yes",
        "SupplementaryGroups": "tss",
    }
    devices = in_hardware.run(f"systemctl show {UNIT} --property=DeviceAllow --value")
    # ProtectClock adds the clock.
    assert sorted(devices.splitlines()) == ["/dev/tpmrm0 rw", "char-rtc r"]
    group = in_hardware.run("getent group tss").split(":")[2]
    groups = in_hardware.run(f"grep ^Groups: /proc/{main_pid(in_hardware)}/status").split()
    assert group in groups


def test_it_is_confined_as_before(in_hardware: Machine) -> None:
    done = in_hardware.try_run(f"systemd-analyze verify {UNIT}")
    assert (done.returncode, done.stderr) == (0, "")
    in_hardware.run(f"systemd-analyze security --threshold=15 {UNIT}")
