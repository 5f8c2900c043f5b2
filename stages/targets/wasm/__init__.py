"""The wasm target: one WebAssembly module without imports, with clients for browsers, Node and Python."""
