/* What the prover must guess for the program to check: the hints that our emitted programs use.

   They are those of the compiler's JSON, under its names. */
#ifndef RECAST_CAIRO_HINTS_H
#define RECAST_CAIRO_HINTS_H

#include "memory.h"

struct machine;

typedef enum {
    ALLOC_SEGMENT,           /* dst */
    TEST_LESS_THAN,          /* lhs, rhs, dst */
    TEST_LESS_THAN_OR_EQUAL, /* lhs, rhs, dst */
    DIV_MOD,                 /* lhs, rhs, quotient, remainder */
    WIDE_MUL_128,            /* lhs, rhs, high, low */
    ALLOC_CONSTANT_SIZE,     /* size, dst */
    LINEAR_SPLIT,            /* value, scalar, max_x, x, y */
    HINT_KINDS
} hint_kind;

enum { HINT_OPERANDS = 5 };

typedef enum { CELL, DOUBLE, IMMEDIATE, SUM, PRODUCT } operand_kind;

/* CELL: [a]. DOUBLE: [[a] + offset]. IMMEDIATE. SUM, PRODUCT: [a] with [b], or with the immediate if it has no b. */
typedef struct {
    uint8_t kind; /* operand_kind */
    uint8_t a_base, b_base; /* base_register */
    uint8_t has_b;
    int64_t a_offset, b_offset; /* b_offset is the offset of DOUBLE too */
    value immediate;
} operand;

typedef struct {
    uint64_t pc;
    uint64_t kind; /* hint_kind */
    operand operands[HINT_OPERANDS];
} hint;

void hint_run(struct machine *m, const hint *h);

#endif
