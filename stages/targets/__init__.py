"""One folder per target; the same job bears the same file name in each: quantize, calibrate, emit, verify, form."""
