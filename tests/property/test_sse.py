"""Any event comes out of the encoder as a client's parser must understand it (WHATWG HTML, section 9.2.6)."""

import json
import re

from hypothesis import given
from hypothesis import strategies as st

from carboy import ServerSentEvent

TEXT = st.text(st.one_of(st.sampled_from("\r\n: \0\ufeff\u2028\x0b\x85adti"), st.characters(codec="utf-8")))
ONE_LINE = TEXT.map(lambda text: re.sub("[\r\n]", "", text))
EVENTS = st.builds(
    ServerSentEvent,
    data=st.one_of(st.none(), TEXT, st.lists(st.integers()), st.dictionaries(TEXT, TEXT), st.booleans()),
    event=st.one_of(st.none(), ONE_LINE),
    id=st.one_of(st.none(), st.integers(), ONE_LINE.map(lambda text: text.replace("\0", ""))),
    retry=st.one_of(st.none(), st.integers(0, 10**6)),
    comment=st.one_of(st.none(), TEXT),
)


def understood(stream):
    """What an EventSource dispatches for the bytes of a stream: (type, data, last event id), and the reconnection time.

    Written from the specification, line by line, with nothing of the encoder's.
    """
    text = stream.decode().removeprefix("\ufeff")
    lines = re.sub("\r\n|\r", "\n", text).split("\n")
    dispatched = []
    data = kind = last_id = ""
    retry = None
    for line in lines[:-1]:
        if line == "":
            if data:
                dispatched.append((kind or "message", data.removesuffix("\n"), last_id))
            data = kind = ""
            continue
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if field == "data":
            data += value + "\n"
        elif field == "event":
            kind = value
        elif field == "id" and "\0" not in value:
            last_id = value
        elif field == "retry" and re.fullmatch("[0-9]+", value):
            retry = int(value)
    return dispatched, last_id, retry


@given(st.lists(EVENTS))
def test_a_client_understands_what_was_meant(events):
    dispatched, last_id, retry = [], "", None
    for event in events:
        if event.id is not None:
            last_id = event.id
        if event.retry is not None:
            retry = event.retry
        if event.data is not None:
            data = event.data if isinstance(event.data, str) else json.dumps(event.data)
            dispatched.append((event.event or "message", re.sub("\r\n|\r", "\n", data), last_id))
    # As a response sends them: after a comment.
    assert understood(b":\n\n" + b"".join(event.encode(json.dumps) for event in events)) == (dispatched, last_id, retry)
