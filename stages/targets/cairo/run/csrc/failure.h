/* How a run ends early: the reason is kept, and control goes back to where the run was started. */
#ifndef RECAST_CAIRO_FAILURE_H
#define RECAST_CAIRO_FAILURE_H

#include <setjmp.h>

#define FAILURE_TEXT 512

typedef struct {
    jmp_buf back;
    char text[FAILURE_TEXT];
} failure;

/* Where the run in progress goes back to; one run at a time. */
extern failure the_failure;

_Noreturn void fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Memory from the system, or the end of the program with a message. */
void *must_realloc(void *old, unsigned long count, unsigned long size);

#endif
