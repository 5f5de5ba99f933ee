"""The BankSync API itself; knows nothing of Airflow.

Requests are values (`messages`), endpoints are functions that make them (`endpoints`), answers are decoded from
bytes (`codec`, `errors`), conversations of several requests are generators (`conversations`). None of these touches
a network or a clock. Two thin clients move the bytes: `client` (requests) and `aio` (aiohttp).
"""
