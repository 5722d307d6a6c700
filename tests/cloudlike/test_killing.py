"""Who is killed when: the same seed is the same plan."""

from tests.cloudlike.killing import schedule
from tests.cloudlike.plan import GATEWAY, MORTALS


def planned(seed: int) -> list[tuple[str, float, float]]:
    return [(victim, at, chance.random()) for victim, at, chance in schedule(MORTALS, 60.0, seed)]


def test_the_same_seed_is_the_same_plan_and_another_is_another() -> None:
    assert planned(1) == planned(1)
    assert planned(1) != planned(2)


def test_each_is_killed_once_in_the_middle_of_the_run_and_the_gateway_first() -> None:
    for seed in range(20):
        found = planned(seed)
        assert sorted(victim for victim, _, _ in found) == sorted(MORTALS)
        assert found[0][0] == GATEWAY
        assert [at for _, at, _ in found] == sorted(at for _, at, _ in found)
        assert all(15.0 <= at <= 45.0 for _, at, _ in found)
