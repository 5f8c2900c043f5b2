/* The Cairo machine: a program, its memory, and the registers pc, ap and fp.

   pc is an offset in the program's segment, ap and fp are offsets in the stack's. */
#ifndef RECAST_CAIRO_MACHINE_H
#define RECAST_CAIRO_MACHINE_H

#include "builtins.h"
#include "hints.h"
#include "instruction.h"
#include "memory.h"

enum { PROGRAM_SEGMENT, STACK_SEGMENT };

/* What Starknet lays after a program: `ret`, and a pointer to the costs of the builtins. Compiled code calls the one to
   find the other. */
enum { WORDS_AFTER = 2 };

typedef struct {
    uint64_t words; /* without what is laid after the program */
    value *word;
    uint64_t hint_count;
    hint *hints; /* by pc */
    uint64_t entry_point;
    uint64_t builtin_count;
    uint8_t *builtins; /* builtin_kind, in the entry point's order */
    uint64_t gas;
    uint64_t most_steps;
} program;

typedef struct machine {
    const program *program;
    memory memory;
    uint64_t pc, ap, fp;
    bool ended;
    value end;      /* where the entry point returns to */
    value next_box; /* where the next box goes; nothing before the first */
    uint64_t steps;
    instruction *decoded;         /* by pc */
    uint64_t *first_hint;         /* by pc, an index into the program's hints; one more at the end */
    uint64_t *steps_at;           /* by pc */
    uint64_t *cells_at;           /* by pc, the cells first written there, by hints and builtins too */
    uint64_t uses[BUILTIN_KINDS]; /* of each builtin, by builtin_kind */
    uint64_t result_segment, result_start, result_end;
    bool panicked;
} machine;

/* A machine for `p`, whose first segment is the program, and its memory otherwise empty. */
void machine_start(machine *m, const program *p);

/* Calls the entry point as Starknet does: it takes the builtins' pointers, gas, the system's segment and the call data,
   and gives back the same, whether it panicked, and the result or the panic's data. Fails as StarkWare's machine does. */
void machine_call(machine *m, const value *data, uint64_t count);

void machine_free(machine *m);

#endif
