"""`endpoints` selects this service, or the item is refused."""

import pytest

from fanout.binding.batch import BatchLimits, ParsedItem, RejectedItem, parse_batch

LIMITS = BatchLimits(
    max_items=10,
    max_targets=10,
    max_message=10_000,
    endpoints=("https://x.service.signalr.net", "http://localhost:8888"),
)


def judged(endpoints: str, limits: BatchLimits = LIMITS) -> ParsedItem | RejectedItem:
    (result,) = parse_batch(f'{{"target":"t","endpoints":{endpoints}}}'.encode(), limits).results
    return result


@pytest.mark.parametrize(
    "endpoints",
    [
        "null",
        '[{"endpoint":"https://x.service.signalr.net"}]',
        '[{"endpoint":"HTTPS://X.Service.SignalR.net:443/"}]',
        '[{"Endpoint":"http://LOCALHOST:8888/","EndpointType":"Primary","Name":"n","Online":false}]',
        '[{"endpoint":"https://x.service.signalr.net","endpointType":"SECONDARY"}]',
        '[{"endpoint":"https://x.service.signalr.net","endpointType":1}]',
        '[{"endpoint":"https://x.service.signalr.net","endpointType":null,"name":null}]',
    ],
)
def test_endpoints_that_select_this_service_are_accepted(endpoints: str) -> None:
    result = judged(endpoints)
    assert isinstance(result, ParsedItem), result
    assert result.warnings == ()


def test_the_other_endpoints_of_a_list_are_named_in_a_warning() -> None:
    result = judged('[{"endpoint":"https://x.service.signalr.net"},{"endpoint":"https://y.service.signalr.net"}]')
    assert isinstance(result, ParsedItem)
    assert "1 of the endpoints" in result.warnings[0].detail


@pytest.mark.parametrize(
    ("endpoints", "code", "pointer"),
    [
        ("[]", "noEndpointSelected", "/endpoints"),
        ('[{"endpoint":"https://y.service.signalr.net"}]', "noEndpointSelected", "/endpoints"),
        ('[{"endpoint":"http://x.service.signalr.net"}]', "noEndpointSelected", "/endpoints"),
        ('[{"endpoint":"http://localhost:8889"}]', "noEndpointSelected", "/endpoints"),
        ("{}", "invalidEndpoints", "/endpoints"),
        ('"https://x.service.signalr.net"', "invalidEndpoints", "/endpoints"),
        ('["https://x.service.signalr.net"]', "invalidEndpoints", "/endpoints/0"),
        ("[null]", "invalidEndpoints", "/endpoints"),
        ('[{"name":"x"}]', "invalidEndpoints", "/endpoints/0"),
        ('[{"endpoint":"x"}]', "invalidEndpoints", "/endpoints/0"),
        ('[{"endpoint":"http://[x"}]', "invalidEndpoints", "/endpoints/0"),
        ('[{"endpoint":"http://x:99999"}]', "invalidEndpoints", "/endpoints/0"),
        ('[{"Endpoint":{}}]', "invalidEndpoints", "/endpoints/0/Endpoint"),
        (
            '[{"endpoint":"https://x.service.signalr.net","endpointType":"third"}]',
            "invalidEndpoints",
            "/endpoints/0/endpointType",
        ),
    ],
)
def test_endpoints_that_select_nothing_are_refused(endpoints: str, code: str, pointer: str) -> None:
    result = judged(endpoints)
    assert isinstance(result, RejectedItem), result
    assert (result.code, result.pointer) == (code, pointer)


def test_without_configured_endpoints_no_list_selects_anything() -> None:
    result = judged('[{"endpoint":"https://x.service.signalr.net"}]', BatchLimits(1, 1, 1000))
    assert isinstance(result, RejectedItem)


TWO = BatchLimits(
    max_items=10,
    max_targets=10,
    max_message=10_000,
    endpoints=("https://x.service.signalr.net", "https://y.service.signalr.net"),
    endpoint_names=("", "east"),
)


@pytest.mark.parametrize(
    ("endpoints", "names"),
    [
        ("null", None),
        ('["East"]', ("east",)),
        ('["default"]', ("",)),
        ('["default","east","east"]', None),
        ('[{"name":"east"}]', ("east",)),
        ('[{"name":"EAST","endpoint":null,"endpointType":"Secondary"}]', ("east",)),
        ('[{"name":"any","endpoint":"https://Y.service.signalr.net/"}]', ("east",)),
        ('[{"endpoint":"https://y.service.signalr.net"},{"endpoint":"https://z.service.signalr.net"}]', ("east",)),
    ],
)
def test_endpoints_narrow_an_item_by_name_or_by_url(endpoints: str, names: tuple[str, ...] | None) -> None:
    result = judged(endpoints, TWO)
    assert isinstance(result, ParsedItem), result
    assert result.endpoints == names


@pytest.mark.parametrize("endpoints", ['["west"]', '[{"name":"west"}]', '["east","west"]', '[""]'])
def test_a_name_that_is_not_configured_is_refused_with_those_that_are(endpoints: str) -> None:
    result = judged(endpoints, TWO)
    assert isinstance(result, RejectedItem), result
    assert result.code == "invalidEndpoints"
    assert "there are default, east" in result.detail
