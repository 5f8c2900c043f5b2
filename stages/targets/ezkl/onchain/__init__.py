"""The verifier as a contract, compiled and run on an EVM."""
