"""Whether an account has had no transaction for longer than is usual for it, and when a bank's consent may end."""

from __future__ import annotations

from datetime import date, timedelta
from math import ceil
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

#: With fewer gaps between days with transactions, nothing is usual for an account.
MIN_GAPS = 5
#: An account is stale after this many of its usual gaps, and never before `MIN_STALE_DAYS`.
USUAL_GAPS, MIN_STALE_DAYS = 3, 7
#: The usual gap is that of which this share of all gaps is not longer.
_SHARE = 0.9


class Freshness(NamedTuple):
    """How fresh the transactions of an account are.

    :param newest: day of the newest transaction; None if there is none.
    :param usual_gap_days: 9 in 10 gaps between two days with transactions are not longer; None if too few are known.
    :param is_stale: whether there has been no transaction for longer than is usual.
    """

    newest: date | None
    usual_gap_days: int | None
    is_stale: bool


def compute_freshness(days: Iterable[date], today: date) -> Freshness:
    """Return how fresh an account is.

    :param days: with transactions. Days after `today` do not count.
    """
    known = sorted({day for day in days if day <= today})
    if not known:
        return Freshness(None, None, False)
    gaps = sorted((after - before).days for before, after in zip(known, known[1:]))  # noqa: B905, RUF007
    if len(gaps) < MIN_GAPS:
        return Freshness(known[-1], None, False)
    usual = gaps[ceil(_SHARE * len(gaps)) - 1]
    limit = max(USUAL_GAPS * usual, MIN_STALE_DAYS)
    return Freshness(known[-1], usual, (today - known[-1]).days > limit)


#: How long a consent lasts at most, in days. The API does not tell. These are the rules for the aggregators:
#: - EEA: 180 days between two sign-ins, since 25 July 2023: Delegated Regulation (EU) 2022/2360.
#: - United Kingdom: the client confirms the consent every 90 days: Article 36(6) of the FCA's SCA-RTS, PS21/19.
#: - Australia: 12 months at most: rule 4.12 of the Consumer Data Right Rules 2020. Business clients may consent for
#:   longer to some uses.
_EEA, _UK, _AUSTRALIA = 180, 90, 365
_DAYS_OF_SOURCE = {"basiq": _AUSTRALIA, "fiskil": _AUSTRALIA}
_DAYS_OF_CURRENCY = {
    "AUD": _AUSTRALIA,
    "GBP": _UK,
    **dict.fromkeys(("EUR", "CZK", "DKK", "HUF", "ISK", "NOK", "PLN", "RON", "SEK"), _EEA),
}


def estimate_consent_end(linked: date, source: str | None, currency: str | None, today: date) -> date | None:
    """Estimate when the consent of a bank ends. BankSync does not say.

    :param linked: when the bank was linked.
    :param source: the aggregator. If it does not decide, the currency does.
    :return: None if no rule is known for the bank, or if the day has passed: the consent was renewed at a time that
        BankSync does not tell.
    """
    days = _DAYS_OF_SOURCE.get((source or "").lower()) or _DAYS_OF_CURRENCY.get((currency or "").upper())
    if days is None:
        return None
    end = linked + timedelta(days=days)
    return end if end >= today else None
