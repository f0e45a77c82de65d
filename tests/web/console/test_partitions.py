"""What the console of a worker of Kafka says of its partitions."""

from collections.abc import Iterator

import pytest
from selenium.webdriver import Chrome

from api_fleet import ApiFleet
from consoles import Stage, staged
from pages import Page
from presenced.fleet import Partition
from presenced.system.supervision import Readiness


@pytest.fixture
def stage() -> Iterator[Stage]:
    with staged(partition=Partition(3, 24), partition_of=lambda _: 7) as made:
        yield made


def add(stage: Stage, *numbers: int) -> None:
    """Let the worker own more partitions."""
    for number in numbers:
        stage.call(
            lambda number=number: ApiFleet(partition=Partition(number, 24), beside=stage.fleet)
        )


def is_shown(page: Page, selector: str) -> bool:
    return page.one(selector).is_displayed()


def look_again(stage: Stage, client_id: str, at: float) -> None:
    """Let the page ask again, because a client comes."""
    stage.call(lambda: stage.fleet.hear("connected", client_id, at=at))


def test_a_worker_names_its_partitions_and_where_the_whole_fleet_is(
    page: Page, stage: Stage
) -> None:
    page.open()
    page.wait_for_text(
        "#partitions",
        "This worker has partition 3 of 24: all on this page is about these. Grafana shows the"
        " whole fleet.",
    )
    add(stage, 0, 5)
    look_again(stage, "a", at=1)
    page.wait_for_text("#partitions", "This worker has partitions 0, 3, 5 of 24: all on this page")
    add(stage, 4, 6)
    look_again(stage, "b", at=2)
    page.wait_for_text("#partitions", "partitions 0, 3-6 of 24")
    assert page.barriers() == []
    add(stage, *(number for number in range(24) if number != 3))
    look_again(stage, "c", at=3)
    page.wait_for_text("#partitions", "This worker has all 24 partitions.")


def test_a_daemon_that_has_the_whole_fleet_says_nothing_of_partitions(browser: Chrome) -> None:
    with staged() as stage:
        page = Page(browser, stage.url)
        page.open()
        page.wait_for_text("#list-note", "No client is known yet.")
        page.wait_for_text("#state-line", "Receiving events")
        assert not is_shown(page, "#partitions")
        page.forget()


def test_a_revoked_partition_leaves_the_page(page: Page, stage: Stage) -> None:
    other = stage.call(lambda: ApiFleet(partition=Partition(5, 24), beside=stage.fleet))
    stage.call(lambda: stage.fleet.hear("connected", "stays", at=1))
    stage.call(lambda: other.hear("connected", "moves", at=1))
    page.open()
    page.wait(lambda: page.texts("#clients tbody th") == ["moves", "stays"])
    stage.call(lambda: stage.fleet.api.remove(5))
    look_again(stage, "comes", at=2)
    page.wait(lambda: page.texts("#clients tbody th") == ["comes", "stays"])
    page.wait_for_text("#numbers", "online 2")
    page.wait_for_text("#partitions", "This worker has partition 3 of 24")
    stage.call(lambda: stage.fleet.api.remove(3))
    page.open()
    page.wait_for_text("#partitions", "This worker has no partitions at present.")
    page.wait_for_text("#list-note", "No client is in the partitions of this worker.")


def test_a_client_of_another_worker_is_not_simply_unknown(page: Page) -> None:
    page.open("#/clients/elsewhere")
    page.wait_for_text(
        "#notices", "This worker has partition 3 of 24, and the events of this client"
    )
    page.wait_for_text("#notices", 'presenced_partition_owned{partition="7"} is 1.')
    page.open("#/?prefix=else")
    note = "No client that matches is in the partitions of this worker."
    page.wait_for_text("#list-note", note)


def test_nothing_is_shown_once_the_lease_is_over(page: Page, stage: Stage) -> None:
    def lose_the_lease() -> None:
        stage.fleet.holding = False
        stage.fleet.readiness = Readiness(ready=False, text="the lease of Kafka is over")

    def hold_again() -> None:
        stage.fleet.holding = True
        stage.fleet.readiness = Readiness(ready=True, text="ready")

    stage.call(lambda: stage.fleet.hear("connected", "a", at=1))
    page.open()
    page.wait(lambda: page.texts("#clients tbody th") == ["a"])
    stage.call(lose_the_lease)
    look_again(stage, "b", at=2)
    page.wait_for_text("#partitions", "This worker shows no clients until Kafka confirms")
    page.wait(
        lambda: not page.one("#recent-note").is_displayed(), "that nothing happened is no fact"
    )
    page.wait_for_text("#notices", "Kafka has not confirmed for kafka.lease")
    page.wait_for_text("#link", "Not ready")
    assert page.texts("#clients tbody th") == []
    assert not is_shown(page, "#overview")
    assert page.text("#list-note") == ""
    page.open("#/clients/a")
    page.wait_for_text("#notices", "Kafka has not confirmed for kafka.lease")
    assert not is_shown(page, "#device-parts")
    assert page.text("#notices").count("Kafka has not confirmed") == 1
    stage.call(hold_again)
    page.open()
    page.wait(lambda: page.texts("#clients tbody th") == ["a", "b"])
    page.wait_for_text("#partitions", "This worker has partition 3 of 24")
    page.wait(lambda: is_shown(page, "#overview"))
