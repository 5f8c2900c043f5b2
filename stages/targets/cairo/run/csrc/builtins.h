/* The builtins our programs use: segments whose cells keep a rule.

   range_check: every cell is an integer below 2^128. bitwise: of every five cells the first two, x and y below 2^251,
   are the program's; the others are x and y, x xor y, x or y. */
#ifndef RECAST_CAIRO_BUILTINS_H
#define RECAST_CAIRO_BUILTINS_H

#include "memory.h"

typedef enum { RANGE_CHECK, BITWISE, BUILTIN_KINDS } builtin_kind;

/* A new segment that keeps the rule of `kind`. */
uint64_t builtin_add_segment(memory *m, builtin_kind kind);

/* How often the builtin was used. Fails unless `end`, the pointer the program gives back, is where its cells end, and
   every cell the program must write is written; and unless cells that the program wrote itself keep the rule. */
uint64_t builtin_uses(memory *m, builtin_kind kind, uint64_t segment, value end);

#endif
