"""The data of a sandbox. A seed generates all of it: the same seed always gives the same bytes.

1. ``seed`` hashes the seed's number with a path, such as ``("bank", workspace_id, 0)``, into random draws and ids.
   So each object can be computed alone, without the ones before it. Only small caches are stored.
2. ``world`` generates the firm, its portals, and the banks, accounts, feeds and other objects of a workspace.
   ``model`` has their classes, and ``names`` has their texts.
3. ``activity`` generates the postings of an account, a span of days at a time: those of a small business, or
   ``transactions_per_day``. ``transactions`` turns postings into the rows of a page.
4. ``ledger`` adds the transactions that tests and syncs added, and returns the rows as they were at a snapshot.
5. ``current`` applies what tests and clients changed. ``api_rows`` writes the objects with the API's field names.
"""
