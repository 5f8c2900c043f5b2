#include "memory.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "failure.h"

#define LARGEST_OFFSET (UINT64_C(1) << 32)

static value moved(value at, felt by, int sign) {
    int64_t offset;
    if (!felt_to_offset(by, &offset)) fail("a pointer moves by %s, which is no offset", value_text(by));
    int64_t place = (int64_t)at.limb[0] + sign * offset;
    if (place < 0 || (uint64_t)place > LARGEST_OFFSET)
        fail("pointer %s moves by %" PRId64 ", out of its segment", value_text(at), sign * offset);
    return pointer(at.limb[1], (uint64_t)place);
}

value value_add(value a, value b) {
    if (!is_pointer(a) && !is_pointer(b)) return felt_add(a, b);
    if (is_pointer(a) && is_pointer(b)) fail("two pointers, %s and %s, have no sum", value_text(a), value_text(b));
    return is_pointer(a) ? moved(a, b, 1) : moved(b, a, 1);
}

value value_sub(value a, value b) {
    if (!is_pointer(a) && !is_pointer(b)) return felt_sub(a, b);
    if (!is_pointer(b)) return moved(a, b, -1);
    if (!is_pointer(a) || a.limb[1] != b.limb[1]) fail("%s less %s has no value", value_text(a), value_text(b));
    return felt_sub(felt_of(a.limb[0]), felt_of(b.limb[0]));
}

value value_mul(value a, value b) {
    if (is_pointer(a) || is_pointer(b)) fail("%s times %s has no value", value_text(a), value_text(b));
    return felt_mul(a, b);
}

const char *value_text(value v) {
    static char texts[4][80];
    static unsigned next;
    char *text = texts[next++ % 4];
    if (is_none(v)) return "nothing";
    if (is_pointer(v))
        snprintf(text, sizeof texts[0], "%" PRIu64 ":%" PRIu64, v.limb[1], v.limb[0]);
    else if ((v.limb[1] | v.limb[2] | v.limb[3]) == 0)
        snprintf(text, sizeof texts[0], "%" PRIu64, v.limb[0]);
    else
        snprintf(text, sizeof texts[0], "0x%" PRIx64 "%016" PRIx64 "%016" PRIx64 "%016" PRIx64, v.limb[3], v.limb[2],
                 v.limb[1], v.limb[0]);
    return text;
}

uint64_t memory_add_segment(memory *m) {
    if (m->count == m->capacity) {
        m->capacity = 2 * m->capacity + 16;
        m->segments = must_realloc(m->segments, m->capacity, sizeof *m->segments);
    }
    m->segments[m->count] = (segment){.limit = LARGEST_OFFSET};
    return m->count++;
}

void memory_free(memory *m) {
    for (uint64_t i = 0; i < m->count; i++) free(m->segments[i].cells);
    free(m->segments);
    *m = (memory){0};
}

static void grow(segment *s, uint64_t offset) {
    if (offset >= s->capacity) {
        s->capacity = 2 * offset + 8;
        s->cells = must_realloc(s->cells, s->capacity, sizeof *s->cells);
    }
    while (s->size <= offset) s->cells[s->size++] = none();
}

void memory_set(memory *m, uint64_t segment_index, uint64_t offset, value v) {
    if (segment_index >= m->count) fail("there is no segment %" PRIu64 " to write to", segment_index);
    segment *s = &m->segments[segment_index];
    if (offset >= s->limit) fail("cell %" PRIu64 ":%" PRIu64 " may not be written", segment_index, offset);
    if (offset >= s->size) grow(s, offset);
    value *cell = &s->cells[offset];
    if (!is_none(*cell)) {
        if (!felt_equal(*cell, v))
            fail("cell %" PRIu64 ":%" PRIu64 " holds %s, and %s is written to it", segment_index, offset,
                 value_text(*cell), value_text(v));
        return;
    }
    if (s->check != NULL) s->check(m, segment_index, offset, v);
    *cell = v;
    m->written++;
}

value memory_need(const memory *m, uint64_t segment, uint64_t offset) {
    value v = memory_get(m, segment, offset);
    if (is_none(v)) fail("cell %" PRIu64 ":%" PRIu64 " is read and was never written", segment, offset);
    return v;
}
