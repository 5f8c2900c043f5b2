#include "failure.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

failure the_failure;

_Noreturn void fail(const char *format, ...) {
    va_list values;
    va_start(values, format);
    vsnprintf(the_failure.text, sizeof the_failure.text, format, values);
    va_end(values);
    longjmp(the_failure.back, 1);
}

void *must_realloc(void *old, unsigned long count, unsigned long size) {
    void *memory = realloc(old, count * size);
    if (memory == NULL && count != 0) {
        fprintf(stderr, "no memory for %lu times %lu bytes\n", count, size);
        exit(3);
    }
    return memory;
}
