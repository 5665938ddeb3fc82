"""How an answer is read in tests: piece by piece, as a connection does it."""

from fanout.http1.exchange import Limits, MalformedAnswerError, Response
from fanout.http1.messages import AnswerReader

Outcome = tuple[Response | None, bool, str]  # the answer, whether the connection stays, and how it ended


def read(*pieces: bytes, method: str, limits: Limits) -> Outcome:
    """Feed pieces: what follows the answer only closes; at the end the server closes."""
    reader = AnswerReader(method, limits, reused=False)
    for index, piece in enumerate(pieces):
        try:
            response = reader.feed(piece)
        except MalformedAnswerError:
            return None, False, "malformed"
        if response is not None:
            return response, reader.keep_alive and not any(pieces[index + 1 :]), "answered"
    response = reader.end()
    return response, False, "broken" if response is None else "answered"
