"""The end of the service: the documented commands remove what they installed."""

from installations import CLONE, documented_blocks, files, in_clone
from machines import Machine


def test_the_documentation_word_for_word(running: Machine) -> None:
    _, start, look, _ = documented_blocks("sh")
    running.run(in_clone(start))
    assert running.run("systemctl is-enabled presenced") == "enabled"
    assert "sensor-0017" in running.run(in_clone(look))


def test_commands_find_the_service_by_its_configuration(running: Machine) -> None:
    assert running.run("presenced reload") == "The configuration was reloaded."
    assert running.run("presenced state show").startswith("/var/lib/presenced/presenced.db: ")


def test_uninstall_removes_what_install_put_there(
    installed: Machine, files_before: set[str]
) -> None:
    added = files(installed) - files_before
    outside = [name for name in added if not name.startswith("/usr/local/lib/presenced/")]
    assert sorted(outside) == [
        "/etc/presenced/presenced.schema.json",
        "/etc/presenced/presenced.yaml.example",
        "/etc/presenced/second.yaml",
        "/etc/systemd/system/multi-user.target.wants/presenced.service",
        "/usr/local/bin/presenced",
        "/usr/local/lib/systemd/system/presenced-worker@.service",
        "/usr/local/lib/systemd/system/presenced.service",
        "/usr/local/lib/systemd/system/presenced@.service",
    ]
    installed.run(in_clone(documented_blocks("sh")[-1]))
    assert files(installed) - files_before == {"/etc/presenced/second.yaml"}


def test_staged_below_another_prefix(installed: Machine) -> None:
    made = "DESTDIR=/tmp/stage PREFIX=/opt/fleet SYSTEMD_VERSION=254"
    installed.run(in_clone(f"make install {made}"))
    staged = installed.run("find /tmp/stage -type f | grep -v ^/tmp/stage/opt/fleet/lib/presenced/")
    assert sorted(staged.splitlines()) == [
        "/tmp/stage/etc/presenced/presenced.schema.json",
        "/tmp/stage/etc/presenced/presenced.yaml.example",
        "/tmp/stage/opt/fleet/lib/systemd/system/presenced-worker@.service",
        "/tmp/stage/opt/fleet/lib/systemd/system/presenced-worker@.service.d/backoff.conf",
        "/tmp/stage/opt/fleet/lib/systemd/system/presenced.service",
        "/tmp/stage/opt/fleet/lib/systemd/system/presenced.service.d/backoff.conf",
        "/tmp/stage/opt/fleet/lib/systemd/system/presenced@.service",
        "/tmp/stage/opt/fleet/lib/systemd/system/presenced@.service.d/backoff.conf",
    ]
    assert "/tmp/stage" not in installed.run(
        f"grep -rl -e /tmp/stage -e {CLONE} /tmp/stage || true"
    )
    installed.run("cp -r /tmp/stage/opt/. /opt")
    assert installed.run("/opt/fleet/bin/presenced --version").startswith("presenced ")
    assert "ExecStart=/opt/fleet/bin/presenced run " in installed.run(
        "cat /tmp/stage/opt/fleet/lib/systemd/system/presenced.service"
    )
    installed.run(in_clone(f"make uninstall {made}"))
    assert installed.run("find /tmp/stage -not -type d") == ""
