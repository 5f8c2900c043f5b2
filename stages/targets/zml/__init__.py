"""The ZML target: the model as Zig for ZML, executed here on a stand-in for ZML's calls."""
