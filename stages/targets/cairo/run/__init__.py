"""Programs compiled and run: the toolchain, our VM in C, and the reference VM."""
