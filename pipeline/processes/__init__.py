"""The processes that stages and verbs run in, and the environments those are started from."""
