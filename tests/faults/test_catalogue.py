"""Every fault the product is to survive, by name, and where it is made to happen under flow and judged.

Rule guarded: this list is complete against the promise "nothing accepted is ever lost", and no name in it is only a
name. All are judged by one oracle, tests/flow/oracle.py.
"""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CATALOGUE = {
    "a worker killed": "faults/test_kills.py::test_a_killed_worker",
    "the ingress killed": "faults/test_kills.py::test_a_killed_ingress",
    "both killed": "faults/test_kills.py::test_a_worker_and_the_ingress_killed_at_once",
    "everything killed": "faults/test_kills.py::test_all_processes_killed_at_once",
    "workers killed in a row": "flow/test_crash.py::test_workers_that_are_killed_again_and_again_lose_nothing",
    "a worker frozen past its lease": "faults/test_kills.py::"
    "test_a_frozen_worker_that_wakes_up_settles_nothing_and_sends_nothing_more",
    "the ingress frozen": "faults/test_kills.py::test_a_frozen_ingress_is_a_pause",
    "a worker told to end": "flow/test_shutdown.py::test_nothing_is_lost_and_nothing_repeated",
    "Redis killed, its file kept": "faults/test_store_faults.py::test_redis_killed_and_started_again_with_its_file",
    "Redis paused": "faults/test_store_faults.py::test_redis_paused_for_longer_than_every_timeout",
    "Redis emptied": "faults/test_store_faults.py::test_everything_in_redis_is_deleted",
    "ownership deleted": "faults/test_store_faults.py::test_what_everybody_owns_is_deleted_alone",
    "Redis full": "faults/test_store_faults.py::test_redis_full",
    "Redis' scripts deleted": "faults/test_store_faults.py::test_scripts_are_forgotten_again_and_again",
    "a primary killed after the 202": "fanout/redis/test_durability.py::"
    "test_with_wait_what_is_accepted_survives_the_primary",
    "Sentinel failover": "redis/test_failover.py::test_a_killed_master_is_replaced_and_nothing_accepted_is_lost",
    "Cluster failover": "redis/test_failover.py::"
    "test_a_killed_node_of_a_cluster_is_replaced_and_nothing_accepted_is_lost",
    "Cluster slots moved": "redis/test_failover.py::test_slots_that_move_between_nodes_are_followed",
    "cut mid-command and mid-reply": "faults/test_store_network.py::test_connections_cut_in_the_middle_of",
    "resets towards Redis": "faults/test_store_network.py::test_all_connections_to_redis_reset_again_and_again",
    "latency towards Redis": "faults/test_store_network.py::test_redis_far_away",
    "Redis refuses connections": "faults/test_store_network.py::test_redis_out_of_reach",
    "half-open towards Redis": "faults/test_store_network.py::test_connections_to_redis_that_died_without_a_word",
    "Redis in a black hole": "faults/test_store_network.py::test_redis_in_a_black_hole",
    "calls cut": "faults/test_service_network.py::test_calls_cut_in_the_middle",
    "answers cut": "faults/test_service_network.py::test_answers_cut_in_the_middle",
    "resets towards the service": "faults/test_service_network.py::"
    "test_all_connections_to_the_service_reset_again_and_again",
    "latency towards the service": "faults/test_service_network.py::test_the_service_far_away",
    "half-open towards the service": "faults/test_service_network.py::"
    "test_connections_to_the_service_that_died_without_a_word",
    "the service in a black hole": "faults/test_service_network.py::test_the_service_in_a_black_hole",
    "the service down": "faults/test_service_faults.py::test_the_service_down_for_a_while",
    "the service answers 503": "faults/test_service_faults.py::test_the_service_answers_nothing_but_503",
    "the service slow": "faults/test_service_faults.py::test_the_service_takes_five_seconds_for_an_answer",
    "a 429 storm": "faults/test_service_faults.py::test_a_storm_of_429_with_retry_after",
    "a quota": "faults/test_service_faults.py::test_a_quota_of_the_service",
    "500 after delivery": "faults/test_service_faults.py::test_500_after_it_was_done",
    "resets before and after the body": "faults/test_service_faults.py::test_the_service_resets_connections",
    "a reset after delivery": "faults/test_service_faults.py::test_the_service_does_the_work_and_resets_the_connection",
    "refusals for good": "faults/test_service_faults.py::test_refusals_for_good",
    "half the destinations dead": "faults/test_service_faults.py::test_half_the_destinations_dead",
    "our clocks jump": "faults/test_clocks.py::test_clocks_of_ingress_and_workers_jump",
    "Redis' clock jumps": "faults/test_clocks.py::test_the_clock_of_redis_jumps",
    "all of it in any order": "simulation/test_simulation.py::test_no_seed_breaks_the_promise",
}


@pytest.mark.parametrize("fault", CATALOGUE)
def test_every_fault_has_its_test(fault: str) -> None:
    path, _, name = CATALOGUE[fault].partition("::")
    assert re.search(rf"^(?:async )?def {name}\(", (ROOT / "tests" / path).read_text(), re.MULTILINE)


def test_every_fault_test_is_in_the_catalogue() -> None:
    ours = {
        f"faults/{path.name}::{name}"
        for path in Path(__file__).parent.glob("test_*.py")
        for name in re.findall(r"^async def (test_\w+)\(\s*stack: Standing", path.read_text(), re.MULTILINE)
        if path.stem != "test_verdict"
    }
    assert ours - set(CATALOGUE.values()) == {
        "faults/test_kills.py::test_without_a_fault_nothing_is_lost_and_nothing_repeated"
    }
