"""Whether zig accepts the emitted code: toolchain, ZML's types, planted errors."""
