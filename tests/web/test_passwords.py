"""Checking passwords: what is right, what it costs, and what it may cost."""

import asyncio
import threading
from collections.abc import Awaitable, Callable

import bcrypt
import pytest

from presenced.web.passwords import ALLOWED, REFUSED, PasswordCheck


def hashed(password: str, cost: int = 4) -> str:
    return bcrypt.hashpw(password.encode(), bcrypt.gensalt(cost)).decode()


USERS = {"alice": hashed("wonderland"), "bob": hashed("builder", 5)}


class Counting:
    """bcrypt that counts its calls; each takes `seconds` of a virtual clock."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.asked: list[bytes] = []
        self.threads: set[str] = set()
        self.seconds = seconds
        self.now = 0.0

    def clock(self) -> float:
        return self.now

    def __call__(self, password: bytes, against: bytes) -> bool:
        self.asked.append(against)
        self.threads.add(threading.current_thread().name)
        self.now += self.seconds
        return bcrypt.checkpw(password, against)


def checking(
    use: Callable[[PasswordCheck], Awaitable[None]], verify: Counting | None = None
) -> Counting:
    verify = verify or Counting()

    async def run() -> None:
        check = PasswordCheck(verify=verify, clock=verify.clock, processor_time=verify.clock)
        try:
            await use(check)
        finally:
            check.close()

    asyncio.run(run())
    return verify


@pytest.mark.parametrize(
    ("name", "password", "verdict"),
    [
        ("alice", "wonderland", ALLOWED),
        ("bob", "builder", ALLOWED),
        ("alice", "builder", REFUSED),
        ("alice", "", REFUSED),
        ("alice", "wonderland ", REFUSED),
        ("Alice", "wonderland", REFUSED),
        ("carol", "wonderland", REFUSED),
        ("", "", REFUSED),
        ("alice", "x\0y", REFUSED),
        ("alice", "\udcff", REFUSED),
    ],
)
def test_right_and_wrong(name, password, verdict) -> None:
    async def use(check: PasswordCheck) -> None:
        assert await check.check(USERS, name, password, "192.0.2.1") == verdict

    checking(use)


@pytest.mark.parametrize("prefix", ["$2a$", "$2b$", "$2y$"])
def test_every_kind_of_bcrypt_hash(prefix) -> None:
    users = {"alice": prefix + USERS["alice"][4:]}

    async def use(check: PasswordCheck) -> None:
        assert await check.check(users, "alice", "wonderland", "") == ALLOWED

    checking(use)


def test_long_passwords_are_cut_as_all_makers_of_hashes_do() -> None:
    async def use(check: PasswordCheck) -> None:
        users = {"alice": hashed("x" * 72)}
        assert await check.check(users, "alice", "x" * 100, "") == ALLOWED
        assert await check.check(users, "alice", "x" * 71, "") == REFUSED

    checking(use)


def test_unknown_users_cost_what_known_ones_do() -> None:
    async def use(check: PasswordCheck) -> None:
        await check.check(USERS, "carol", "wonderland", "")

    (against,) = checking(use).asked
    assert against.decode().split("$")[2] == "05", "the highest cost of all users"
    assert against.decode() not in USERS.values()


def test_a_right_password_is_remembered_and_a_wrong_one_is_not() -> None:
    async def use(check: PasswordCheck) -> None:
        for _ in range(5):
            assert await check.check(USERS, "alice", "wonderland", "") == ALLOWED
        for _ in range(3):
            assert await check.check(USERS, "alice", "wrong", "") == REFUSED

    assert len(checking(use).asked) == 1 + 3


def test_a_remembered_password_is_forgotten_with_its_hash_and_its_user() -> None:
    async def use(check: PasswordCheck) -> None:
        assert await check.check(USERS, "alice", "wonderland", "") == ALLOWED
        changed = USERS | {"alice": hashed("other")}
        assert await check.check(changed, "alice", "wonderland", "") == REFUSED
        gone = {"bob": USERS["bob"]}
        assert await check.check(gone, "alice", "wonderland", "") == REFUSED

    checking(use)


def test_neither_passwords_nor_names_lie_in_what_is_remembered() -> None:
    async def use(check: PasswordCheck) -> None:
        await check.check(USERS, "alice", "wonderland", "")
        assert "wonderland" not in repr(vars(check))
        assert "alice" not in repr(vars(check))

    checking(use)


def test_a_bounded_number_is_remembered() -> None:
    users = {f"user-{number}": USERS["alice"] for number in range(150)}

    async def use(check: PasswordCheck) -> None:
        for name in users:
            assert await check.check(users, name, "wonderland", name) == ALLOWED
        for name in list(users)[50:]:
            assert await check.check(users, name, "wonderland", name) == ALLOWED
        assert len(verify.asked) == 150
        assert await check.check(users, "user-49", "wonderland", "") == ALLOWED
        assert len(verify.asked) == 151

    verify = Counting()
    checking(use, verify)


def test_bcrypt_runs_in_a_thread_one_at_a_time() -> None:
    entered, leave = threading.Event(), threading.Event()
    running: list[int] = []
    most: list[int] = []

    class Slow(Counting):
        def __call__(self, password: bytes, against: bytes) -> bool:
            running.append(1)
            most.append(len(running))
            entered.set()
            leave.wait(30)
            running.pop()
            return super().__call__(password, against)

    async def use(check: PasswordCheck) -> None:
        tasks = [
            asyncio.create_task(check.check(USERS, "alice", f"wrong-{n}", f"192.0.2.{n}"))
            for n in range(5)
        ]
        await asyncio.to_thread(entered.wait, 30)
        # The loop turns, with bcrypt at work: this very line shows it.
        assert not any(task.done() for task in tasks)
        leave.set()
        assert await asyncio.gather(*tasks) == [REFUSED] * 5

    verify = checking(use, Slow())
    assert set(most) == {1}
    assert all(name.startswith("passwords") for name in verify.threads)


def test_many_first_scrapes_at_once_cost_one_check() -> None:
    async def use(check: PasswordCheck) -> None:
        scrapes = [check.check(USERS, "alice", "wonderland", f"192.0.2.{n}") for n in range(10)]
        assert await asyncio.gather(*scrapes) == [ALLOWED] * 10

    assert len(checking(use).asked) == 1


def test_an_address_has_ten_wrong_passwords_and_then_one_every_six_seconds() -> None:
    verify = Counting()

    async def use(check: PasswordCheck) -> None:
        for _ in range(10):
            assert await check.check(USERS, "alice", "wrong", "192.0.2.1") == REFUSED
        limited = await check.check(USERS, "alice", "wrong", "192.0.2.1")
        assert not limited.allowed
        assert limited.retry_after == pytest.approx(6)
        # Not even the right one is looked at: that would be an oracle.
        assert not (await check.check(USERS, "alice", "wonderland", "192.0.2.1")).allowed
        assert len(verify.asked) == 10
        assert await check.check(USERS, "alice", "wonderland", "192.0.2.2") == ALLOWED
        verify.now += 6
        assert await check.check(USERS, "bob", "builder", "192.0.2.1") == ALLOWED

    checking(use, verify)


def test_right_passwords_use_nothing_up() -> None:
    users = {f"user-{number}": USERS["alice"] for number in range(50)}

    async def use(check: PasswordCheck) -> None:
        for name in users:
            assert await check.check(users, name, "wonderland", "192.0.2.1") == ALLOWED

    checking(use, Counting(seconds=1.0))


def test_a_remembered_password_is_accepted_despite_wrong_ones_from_its_address() -> None:
    async def use(check: PasswordCheck) -> None:
        assert await check.check(USERS, "alice", "wonderland", "192.0.2.1") == ALLOWED
        for _ in range(50):
            await check.check(USERS, "alice", "wrong", "192.0.2.1")
        assert await check.check(USERS, "alice", "wonderland", "192.0.2.1") == ALLOWED

    checking(use)


def test_wrong_passwords_from_everywhere_cost_a_bounded_share_of_a_processor() -> None:
    verify = Counting(seconds=0.1)
    span = 600.0

    async def use(check: PasswordCheck) -> None:
        attempts = 0
        while verify.now < span:
            before = len(verify.asked)
            attempts += 1
            address = f"192.{attempts // 65536}.{attempts // 256 % 256}.{attempts % 256}"
            # Every second one from an address that has failed before.
            for each in (address, "203.0.113.1"):
                verdict = await check.check(USERS, "alice", "wrong", each)
                assert not verdict.allowed
            if len(verify.asked) == before:
                assert verdict.retry_after
                verify.now += 10
        assert len(verify.asked) * 0.1 <= 15 + span * 0.3 + 0.2

    checking(use, verify)


def test_a_flood_leaves_a_reserve_for_addresses_without_a_wrong_password() -> None:
    """Each of the right users is new, and comes while the flood goes on."""
    verify = Counting(seconds=0.06)
    flood = [f"192.0.2.{number}" for number in range(60)]
    flood += [f"2001:db8:0:{number:x}::1" for number in range(500)]
    users = {f"user-{number}": USERS["alice"] for number in range(20)}

    async def use(check: PasswordCheck) -> None:
        limited = 0
        for number, name in enumerate(users):
            for _ in range(3):
                for address in flood:
                    verdict = await check.check(users, "alice", "wrong", address)
                    limited += verdict.retry_after is not None
                    assert not verdict.allowed
                    verify.now += 0.001
            address = f"203.0.113.{number}"
            assert await check.check(users, name, "wonderland", address) == ALLOWED
        assert limited > 1000

    checking(use, verify)


def test_an_address_with_a_wrong_password_has_the_reserve_again_after_ten_minutes() -> None:
    verify = Counting(seconds=10.0)

    async def use(check: PasswordCheck) -> None:
        assert await check.check(USERS, "alice", "wrong", "192.0.2.1") == REFUSED
        # Uses up what addresses with wrong passwords have.
        assert await check.check(USERS, "alice", "wrong", "192.0.2.1") == REFUSED
        late = await check.check(USERS, "alice", "wonderland", "192.0.2.1")
        assert late.retry_after
        verify.now += 600
        assert await check.check(USERS, "alice", "wonderland", "192.0.2.1") == ALLOWED

    checking(use, verify)


def test_right_users_who_come_together_from_one_address_get_in_during_a_flood() -> None:
    users = {f"user-{number}": USERS["alice"] for number in range(12)}
    verify = Counting(seconds=5.0)

    async def use(check: PasswordCheck) -> None:
        verdict = REFUSED
        while verdict.retry_after is None:
            verdict = await check.check(users, "user-0", "wrong", "192.0.2.1")
        checks = [check.check(users, name, "wonderland", "192.0.2.2") for name in users]
        assert await asyncio.gather(*checks) == [ALLOWED] * 12

    checking(use, verify)


def test_a_network_has_one_check_at_a_time_of_the_reserve() -> None:
    entered, leave = threading.Event(), threading.Event()

    class Slow(Counting):
        def __call__(self, password: bytes, against: bytes) -> bool:
            entered.set()
            leave.wait(30)
            return super().__call__(password, against)

    async def use(check: PasswordCheck) -> None:
        tasks = [
            asyncio.create_task(check.check(USERS, "alice", f"wrong-{n}", "192.0.2.1"))
            for n in range(8)
        ]
        await asyncio.to_thread(entered.wait, 30)
        # 16 seconds are more than either budget, so a check of each uses it up.
        leave.set()
        verdicts = await asyncio.gather(*tasks)
        assert verdicts.count(REFUSED) == 2
        assert all(verdict == REFUSED or verdict.retry_after for verdict in verdicts)

    assert len(checking(use, Slow(seconds=16.0)).asked) == 2


def test_the_number_of_waiting_checks_is_limited() -> None:
    leave = threading.Event()

    class Stuck(Counting):
        def __call__(self, password: bytes, against: bytes) -> bool:
            leave.wait(30)
            return super().__call__(password, against)

    async def use(check: PasswordCheck) -> None:
        flood = [
            asyncio.create_task(check.check(USERS, "alice", f"wrong-{n}", f"192.0.2.{n}"))
            for n in range(100)
        ]
        done: set[asyncio.Task] = set()
        waiting = set(flood)
        while len(done) < 36:
            more, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            done |= more
        assert len(waiting) == 64
        assert all(task.result().retry_after for task in done)
        leave.set()
        assert {task.result() for task in (await asyncio.wait(waiting))[0]} == {REFUSED}

    assert len(checking(use, Stuck()).asked) == 64
