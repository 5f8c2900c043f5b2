"""The EZKL target: a zero-knowledge proof that scores are a model's own, checked by anyone, on a chain as well."""
