"""The router matches whole segments, literals before names."""

import pytest

from emulator.rest.routes import Router


@pytest.fixture
def router() -> Router[str]:
    router: Router[str] = Router()
    router.add("POST", "", "root")
    router.add("POST", "users/{user}/:send", "send")
    router.add("PUT", "users/{user}/groups/{group}", "join")
    router.add("DELETE", "users/{user}/groups/{group}", "leave")
    return router


def test_names_stand_for_whole_segments(router: Router[str]) -> None:
    found = router.find("PUT", ("users", "a/b", "groups", ":send"))
    assert (found.route, found.names) == ("join", {"user": "a/b", "group": ":send"})
    assert router.find("POST", ()).route == "root"


def test_a_known_path_with_another_method_tells_the_allowed_ones(router: Router[str]) -> None:
    found = router.find("GET", ("users", "a", "groups", "g"))
    assert (found.route, found.allowed) == (None, ("PUT", "DELETE"))


@pytest.mark.parametrize("path", [("users",), ("users", "a"), ("x",), ("users", "a", ":send", "more")])
def test_unknown_paths_are_neither(router: Router[str], path: tuple[str, ...]) -> None:
    found = router.find("POST", path)
    assert (found.route, found.allowed) == (None, ())
