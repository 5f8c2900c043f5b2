#include "builtins.h"

#include <inttypes.h>

#include "failure.h"

enum { BITWISE_INPUTS = 2, BITWISE_CELLS = 5 };

static const char *const names[BUILTIN_KINDS] = {"range_check", "bitwise"};

static void check_range(memory *m, uint64_t segment, uint64_t offset, value v) {
    (void)m, (void)segment;
    if (is_pointer(v) || !felt_is_uint128(v))
        fail("range check %" PRIu64 " is for %s, which is not below 2^128", offset, value_text(v));
}

static value deduce_bitwise(memory *m, uint64_t segment, uint64_t offset) {
    uint64_t output = offset % BITWISE_CELLS;
    if (output < BITWISE_INPUTS) return none();
    value x = memory_get(m, segment, offset - output), y = memory_get(m, segment, offset - output + 1);
    if (is_none(x) || is_none(y)) return none();
    if (is_pointer(x) || is_pointer(y) || x.limb[3] >> 59 != 0 || y.limb[3] >> 59 != 0)
        fail("the bitwise builtin takes integers below 2^251, not %s and %s", value_text(x), value_text(y));
    value result;
    for (int i = 0; i < 4; i++) {
        uint64_t a = x.limb[i], b = y.limb[i];
        result.limb[i] = output == 2 ? a & b : output == 3 ? a ^ b : a | b;
    }
    return result;
}

uint64_t builtin_add_segment(memory *m, builtin_kind kind) {
    uint64_t index = memory_add_segment(m);
    m->segments[index].check = kind == RANGE_CHECK ? check_range : NULL;
    m->segments[index].deduce = kind == BITWISE ? deduce_bitwise : NULL;
    return index;
}

uint64_t builtin_uses(memory *m, builtin_kind kind, uint64_t index, value end) {
    const segment *s = &m->segments[index];
    uint64_t cells = kind == BITWISE ? BITWISE_CELLS : 1, inputs = kind == BITWISE ? BITWISE_INPUTS : 1;
    uint64_t uses = (s->size + cells - 1) / cells;
    if (!is_pointer(end) || end.limb[1] != index || end.limb[0] != uses * cells)
        fail("%s ends at cell %" PRIu64 ", and the program says %s", names[kind], uses * cells, value_text(end));
    for (uint64_t offset = 0; offset < uses * cells; offset++) {
        value found = memory_get(m, index, offset);
        if (offset % cells < inputs) {
            if (is_none(found)) fail("cell %" PRIu64 " of %s was never written", offset, names[kind]);
        } else if (!is_none(found) && !felt_equal(found, s->deduce(m, index, offset)))
            fail("cell %" PRIu64 " of %s holds %s, against its rule", offset, names[kind], value_text(found));
    }
    return uses;
}
