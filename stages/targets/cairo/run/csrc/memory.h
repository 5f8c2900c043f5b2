/* The memory of the Cairo machine: cells that are written once, in segments that grow.

   A value is a felt, or a pointer (a segment and an offset, which become one felt only when a proof is made). A cell
   that was not written yet holds no value. */
#ifndef RECAST_CAIRO_MEMORY_H
#define RECAST_CAIRO_MEMORY_H

#include <stddef.h>

#include "felt.h"

/* A felt below P leaves the highest bits of its highest limb at 0; they tell what else a value is. */
#define VALUE_POINTER (UINT64_C(1) << 63)
#define VALUE_NONE (UINT64_C(1) << 62)

typedef felt value; /* a pointer: limb[0] is the offset, limb[1] the segment, limb[3] VALUE_POINTER */

static inline bool is_pointer(value v) {
    return v.limb[3] & VALUE_POINTER;
}

static inline bool is_none(value v) {
    return v.limb[3] & VALUE_NONE;
}

static inline value pointer(uint64_t segment, uint64_t offset) {
    return (value){{offset, segment, 0, VALUE_POINTER}};
}

static inline value none(void) {
    return (value){{0, 0, 0, VALUE_NONE}};
}

/* Arithmetic as far as it is defined: two pointers have a difference if they share a segment, and no sum. */
value value_add(value a, value b);
value value_sub(value a, value b);
value value_mul(value a, value b);

/* `v` for a message: a felt in hexadecimal, a pointer as segment:offset. The buffer is reused after four calls. */
const char *value_text(value v);

typedef struct memory memory;
typedef void check_write(memory *m, uint64_t segment, uint64_t offset, value v);
typedef value deduce_cell(memory *m, uint64_t segment, uint64_t offset);

typedef struct {
    value *cells;
    uint64_t size; /* one more than the highest offset written */
    uint64_t capacity;
    uint64_t limit;      /* no cell at or above this offset is written */
    check_write *check;  /* a builtin's rule for what is written, or NULL */
    deduce_cell *deduce; /* a builtin's rule for what was not written, or NULL */
} segment;

struct memory {
    segment *segments;
    uint64_t count;
    uint64_t capacity;
    uint64_t written; /* cells that hold a value, in all segments */
};

uint64_t memory_add_segment(memory *m);
void memory_free(memory *m);

/* Writes a cell. Fails if it holds another value, or if its builtin refuses the value. */
void memory_set(memory *m, uint64_t segment, uint64_t offset, value v);

static inline value memory_get(const memory *m, uint64_t segment, uint64_t offset) {
    return segment < m->count && offset < m->segments[segment].size ? m->segments[segment].cells[offset] : none();
}

/* The value of a cell; fails if it has none. */
value memory_need(const memory *m, uint64_t segment, uint64_t offset);

#endif
