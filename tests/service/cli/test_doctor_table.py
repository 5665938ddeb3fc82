"""The table says what is wrong and whether it matters."""

from fanout.environment import load
from fanout.signalr.connection_string import ConnectionString
from service.cli.doctor_table import document, heading, row, summary
from service.doctor.findings import Finding, Outcome
from tests.service.doctor.examining import options

SERVICE = ConnectionString.parse(f"Endpoint=https://a.example;AccessKey={'k' * 44}")
P, F, S = Outcome.PROVED, Outcome.FAILED, Outcome.SKIPPED


def finding(outcome: Outcome, *, relied_on: bool) -> Finding:
    return Finding("routes", "send to a user", outcome, relied_on, "detail", 0.12345)


def test_a_failure_that_matters_stands_out() -> None:
    marks = [row(finding(s, relied_on=r)).split()[1] for s, r in ((P, True), (F, True), (F, False), (S, True))]
    assert marks == ["ok", "FAIL", "no", "-"]


def test_the_summary_names_what_is_missing() -> None:
    text = summary([finding(P, relied_on=True), finding(F, relied_on=True)], load({}))
    assert "1 proved, 1 failed, 0 skipped." in text
    assert "Not proved, though the configuration relies on it: routes: send to a user." in text
    text = summary(
        [finding(F, relied_on=True), *[finding(S, relied_on=True)] * 7, finding(S, relied_on=False)], load({})
    )
    assert "relies on it: routes: send to a user; 7 more that could not be tried." in text
    assert "holds" in summary([finding(F, relied_on=False)], load({}))


def test_the_document_holds_the_same_for_programs() -> None:
    given = document(SERVICE, load({}), options(), [finding(F, relied_on=True)])
    assert given == {
        "ok": False,
        "service": "https://a.example",
        "hub": "fanoutdoctor",
        "apiVersion": "2022-06-01",
        "findings": [
            {
                "family": "routes",
                "check": "send to a user",
                "standing": "failed",
                "reliedOn": True,
                "detail": "detail",
                "seconds": 0.123,
            }
        ],
        "settings": {},
    }


def test_no_secret_is_in_the_heading() -> None:
    assert "k" * 44 not in heading(SERVICE, load({}), options())
