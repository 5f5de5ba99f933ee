"""The watch over the suite sees what it is there to see."""

from __future__ import annotations

import logging

from tests.leaks import Watch

KEY = "bsk_" + "w" * 44


def test_it_sees_a_key_in_a_message_in_an_argument_and_in_a_traceback() -> None:
    watch = Watch()
    record = logging.LogRecord(
        "tests", logging.DEBUG, __file__, 1, "nothing here, not even bsk_short", None, None
    )
    watch.handle(record)
    assert watch.leaks == []
    watch.handle(logging.LogRecord("tests", logging.DEBUG, __file__, 1, "a key: %s", (KEY,), None))
    error = ValueError(KEY)
    watch.handle(
        logging.LogRecord("tests", logging.DEBUG, __file__, 1, "a traceback", None, (ValueError, error, None))
    )
    assert len(watch.leaks) == 2
    assert KEY not in "".join(watch.leaks)
