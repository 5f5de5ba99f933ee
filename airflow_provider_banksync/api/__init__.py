"""BankSync's REST API, without Airflow.

- Requests are values (`messages`). Endpoints are functions that return a request with its parser (`endpoints`).
- Several requests that belong together are generators (`flows`, `family`) without network and clock.
- Two clients send requests and drive flows (`http`), within the rate limit of the key (`rate_limit`).
"""
