"""One request out, one answer in: the blocking and the asynchronous client."""
