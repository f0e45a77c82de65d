import argparse

import pytest

from presenced_emulator.arguments import add_demo, add_simulate


def parse(*arguments: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_demo(parser.add_subparsers())
    return parser.parse_args(["demo", *arguments])


def test_defaults() -> None:
    options = vars(parse())
    assert callable(options.pop("command"))
    assert options.pop("seed") in range(10**6)
    assert options == {
        "devices": None,
        "duration": None,
        "listen": "127.0.0.1:9883",
        "cold": False,
        "drop_events": None,
        "status": False,
    }


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("20", 20), ("20s", 20), ("2m", 120), ("1m30s", 90), ("500ms", 0.5), ("1d", 86400)],
)
def test_duration(text: str, seconds: float) -> None:
    assert parse("--duration", text).duration == seconds


def test_all() -> None:
    options = parse("--devices", "7", "--listen", ":9000", "--seed", "3")
    assert (options.devices, options.listen, options.seed) == (7, ":9000", 3)
    options = parse("--cold", "--drop-events", "15%")
    assert (options.cold, options.drop_events) == (True, 0.15)
    assert parse("--status").status


@pytest.mark.parametrize(
    "arguments",
    [
        ("--devices", "0"),
        ("--devices", "-1"),
        ("--devices", "many"),
        ("--devices", "1000001"),
        ("--devices", "9" * 5000),
        ("--duration", "soon"),
        ("--duration", "0"),
        ("--duration=-5s",),
        ("--listen", "9883"),
        ("--listen", "127.0.0.1:0"),
        ("--listen", "127.0.0.1:99999"),
        ("--listen", ":http"),
        ("--drop-events", "0.15"),
        ("--drop-events", "101%"),
    ],
)
def test_wrong_usage(arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_info:
        parse(*arguments)
    assert exit_info.value.code == 2
    assert arguments[0].partition("=")[0] in capsys.readouterr().err


def test_the_help_says_which_messages_come_faster_than_the_rate(
    capsys: pytest.CaptureFixture[str],
) -> None:
    parser = argparse.ArgumentParser()
    add_simulate(parser.add_subparsers())
    with pytest.raises(SystemExit):
        parser.parse_args(["simulate", "--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert "messages per second after the start" in text
    assert "At the start and in storms there are more" in text
