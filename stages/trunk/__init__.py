"""The stages all targets share: data, train, export or import, simplify."""
