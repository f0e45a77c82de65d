"""Every documented shell command is run by a test, or is listed with a reason why not."""

import re
import shlex

import pytest

from documentation import PAGES, PROJECT, blocks, prose
from presenced.cli import build_parser, main

# The first words of each block, by page and by the test that runs it.
RUN = {
    "config/aws/README.md": {
        "tests/setup/test_setup.py": [
            "sh config/aws/setup.sh presenced",
            "sh config/aws/setup.sh --undo",
        ]
    },
    "README.md": {
        "tests/setup/test_setup.py": ["sh config/aws/setup.sh"],
        "tests/docs/test_walkthrough.py": [
            "ENDPOINT=$(aws",
            "presenced doctor",
            "presenced run &",
        ],
    },
    "docs/how-to/ask-aws.md": {
        "tests/setup/test_setup.py": ["sh config/aws/setup.sh --reconcile"],
    },
    "docs/how-to/install-the-debian-package.md": {
        "tests/system/test_deb.py": ["make deb", "apt install", "systemctl enable", "apt remove"],
    },
    "docs/how-to/keep-the-key-in-hardware.md": {
        "tests/system/test_systemd_hardware_key.py": ["install -D"],
    },
    "docs/how-to/recordings.md": {
        "tests/test_recordings_docs.py": [
            "presenced record --config presenced.yaml --duration 5s fleet.jsonl",
            "presenced record --config presenced.yaml --duration 5s --max-size",
            "presenced record --config presenced.yaml --duration 5s --anonymize",
            "cat > trial.yaml",
            "sleep 6",
        ],
    },
    "docs/how-to/rotate-certificates.md": {
        "tests/integration/test_reload.py": ["presenced reload"],
    },
    "docs/how-to/run-in-a-container.md": {
        "tests/image/test_image.py": ["make image", "docker exec"],
    },
    "docs/how-to/run-with-systemd.md": {
        "tests/system/conftest.py": ["make install"],
        "tests/system/test_uninstall.py": [
            "systemctl enable",
            "systemctl reload",
            "systemctl disable",
        ],
    },
    "docs/how-to/secure-the-listener.md": {
        "tests/docs/test_walkthrough.py": [
            "openssl req",
            "/opt/presenced/bin/python -c",
            "presenced check",
            "curl -s -o /dev/null",
        ],
    },
    "docs/how-to/upgrade.md": {
        "tests/docs/test_walkthrough.py": ["curl --silent"],
        "tests/integration/test_upgrading.py": [
            "sqlite3 -readonly",
            "docker exec",
            "systemctl stop",
        ],
    },
    "docs/reference/api.md": {
        "tests/integration/test_api.py": [
            "# all, sorted by client ID",
            "curl -sf 'http://localhost:9883/api/v1/clients/plant",
            "timeout 3 curl",
            "curl -sf 'http://localhost:9883/api/v1/summary",
            "curl -sf 'http://localhost:9883/api/v1/flapping",
            "# is it presenced or the fleet",
        ],
    },
    "docs/reference/state-file.md": {"tests/docs/test_walkthrough.py": ["sqlite3 -readonly"]},
    "docs/tutorial/first-fleet.md": {
        "tests/docs/test_walkthrough.py": [
            "curl -s http://127.0.0.1:9883/metrics",
            "curl -s 'http://127.0.0.1:9883/api",
        ],
    },
}
COMPOSE = "needs Docker Compose; tests/test_compose.py reads its file"
CREATE = "kubectl create namespace presenced\nkubectl --namespace presenced create secret generic "
NOT_RUN = {
    **{
        ("config/aws/README.md", words): "needs an AWS account; tests/aws checks the files"
        for words in (
            "mkdir -p /etc/presenced/certs",
            "aws cloudformation deploy --stack-name presenced --",
            "aws cloudformation deploy --stack-name presenced-kafka --",
            "aws iot update-event",
        )
    },
    ("docs/how-to/ask-aws.md", "aws iot"): "needs an AWS account; the doctor's remedy is tested",
    ("README.md", "make demo"): "it downloads; tests/integration/test_demo.py runs the demo",
    (
        "docs/tutorial/first-fleet.md",
        "make demo",
    ): "it downloads; tests/docs/test_walkthrough.py runs the demo with these options",
    ("docs/how-to/run-in-a-container.md", "docker compose up"): COMPOSE,
    ("docs/how-to/run-in-a-container.md", "docker compose --profile kafka"): COMPOSE,
    ("docs/how-to/run-in-a-container.md", "printf 'topic:"): COMPOSE,
    ("docs/how-to/run-in-a-container.md", "chown 65532"): "needs root and Docker Compose",
    **{
        ("docs/how-to/scale-out.md", words): "needs a cluster; tests/streams does the same"
        for words in ("presenced kafka create-topics", "sqlite3 -readonly")
    },
    (
        "docs/how-to/recordings.md",
        "presenced record --config presenced.yaml --start",
    ): "needs a cluster; tests/streams/test_record_kafka.py does the same",
    (
        "docs/how-to/scale-out.md",
        "echo 'PRESENCED_",
    ): "needs root and systemd; see tests/test_units.py",
    **{
        ("docs/how-to/run-on-kubernetes.md", words): "needs a cluster; see tests/test_kubernetes.py"
        for words in (
            f"{CREATE}presenced-certificates",
            f"{CREATE}presenced-kafka",
            "kubectl apply",
            "kubectl --namespace presenced apply",
        )
    },
    (
        "docs/how-to/keep-the-key-in-hardware.md",
        "LIBRARY=",
    ): "needs an AWS account; tests/tokens.py puts keys into tokens",
    (
        "docs/how-to/plain-mosquitto.md",
        "presenced doctor",
    ): "tests/integration/test_status_topics.py runs the page's configuration",
    ("docs/how-to/plain-mosquitto.md", "systemctl edit"): "the drop-in is run by tests/system",
    ("docs/how-to/run-in-a-container.md", "curl --retry"): "tests/image asks for the page itself",
    ("docs/how-to/run-on-kubernetes.md", "kubectl --namespace presenced port-forward"): "needs a"
    " cluster",
    ("docs/how-to/secure-the-listener.md", "groupadd"): "needs root, and creates a group",
    ("docs/how-to/upgrade.md", "make install"): "needs root and systemd; see tests/system",
    ("docs/how-to/upgrade.md", "make image"): "needs Docker; see tests/image",
}
LISTED = [
    *((page, words) for page, tests in RUN.items() for known in tests.values() for words in known),
    *NOT_RUN,
]

COMMANDS = [
    *(["run"], ["reload"], ["check"], ["doctor"], ["demo"], ["record"], ["replay"], ["simulate"]),
    *(["state", "show"], ["state", "forget"], ["state", "export"]),
    ["kafka", "create-topics"],
]


def in_text(pattern: str) -> list[tuple[str, str]]:
    """Return the matches in the text of all pages, each with its page."""
    return [(page, found) for page in PAGES for found in re.findall(pattern, prose(page))]


def test_every_block_is_run_or_a_reason_is_given() -> None:
    shown = [(page, text) for page in PAGES for text in blocks(page, "sh")]
    for page, text in shown:
        assert len([w for p, w in LISTED if p == page and text.startswith(w)]) == 1, (page, text)
    assert len(LISTED) == len(shown)


@pytest.mark.parametrize("test", sorted({test for tests in RUN.values() for test in tests}))
def test_what_runs_commands_takes_them_from_a_document(test: str) -> None:
    assert re.search(r"\.md\b|documented_|setup\.sh", (PROJECT / test).read_text())


@pytest.mark.parametrize(("page", "command"), in_text(r"`presenced ([a-z][^`\n]*)`"))
def test_a_command_in_the_text_is_one(
    page: str, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        build_parser().parse_args(shlex.split(command))
    except SystemExit:
        # What it is called with is often left out, but all that stands there must be known.
        said = capsys.readouterr().err
    else:
        said = ""
    assert said == "" or "are required" in said, page


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_the_reference_has_every_option(
    command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main([*command, "--help"])
    options = set(re.findall(r"--[a-z-]+", capsys.readouterr().out)) - {"--help", "--version"}
    page = (PROJECT / "docs/reference/command-line.md").read_text()
    section = re.search(rf"^## presenced {command[0]}\n(.*?)(^## |\Z)", page, re.M | re.DOTALL)
    assert section is not None
    common = page.partition("\n## ")[0]
    assert {option for option in options if option not in common + section[1]} == set()


def test_targets_and_scripts_in_the_text_are_there() -> None:
    makefile = (PROJECT / "Makefile").read_text()
    targets = {target for _, target in in_text(r"`make ([a-z-]+)")}
    assert {target for target in targets if f"\n{target}:" not in makefile} == set()
    scripts = {script for _, script in in_text(r"`python ([\w/]+\.py)")}
    scripts |= {f"{name.replace('.', '/')}.py" for _, name in in_text(r"`python -m (bench[\w.]+)`")}
    assert {script for script in scripts if not (PROJECT / script).is_file()} == set()
    assert len(targets) > 5
    assert len(scripts) > 2
