#include "instruction.h"

#include "failure.h"

enum { OFFSET_BITS = 16, OFFSET_BIAS = 1 << 15, FLAGS_AT = 48, WORD_BITS = 63 };

static int16_t offset_at(uint64_t word, int index) {
    return (int16_t)((int)(word >> (OFFSET_BITS * index) & 0xffff) - OFFSET_BIAS);
}

/* Which one of `count` flags from `first` on is set, counting from 1; 0 if none is. Fails if several are. */
static uint8_t one_of(uint64_t word, int first, int count) {
    uint64_t flags = word >> (FLAGS_AT + first) & ((UINT64_C(1) << count) - 1);
    uint8_t found = 0;
    for (int i = 0; i < count; i++) {
        if (!(flags >> i & 1)) continue;
        if (found) fail("%s is no instruction: flags exclude each other", value_text(felt_of(word)));
        found = (uint8_t)(i + 1);
    }
    return found;
}

instruction instruction_of(value v) {
    if (is_pointer(v) || (v.limb[1] | v.limb[2] | v.limb[3]) != 0 || v.limb[0] >> WORD_BITS != 0)
        fail("%s is no instruction", value_text(v));
    uint64_t word = v.limb[0];
    instruction in = {
        .dst_offset = offset_at(word, 0),
        .op0_offset = offset_at(word, 1),
        .op1_offset = offset_at(word, 2),
        .dst_base = word >> FLAGS_AT & 1 ? FROM_FP : FROM_AP,
        .op0_base = word >> (FLAGS_AT + 1) & 1 ? FROM_FP : FROM_AP,
        .op1 = one_of(word, 2, 3),
        .result = one_of(word, 5, 2),
        .pc = one_of(word, 7, 3),
        .ap = one_of(word, 10, 2),
        .op = one_of(word, 12, 3),
    };
    in.size = in.op1 == OP1_IMMEDIATE ? 2 : 1;
    if (in.op1 == OP1_IMMEDIATE && in.op1_offset != 1) fail("%s is no instruction: its immediate", value_text(v));
    if (in.pc == PC_JUMP_NONZERO) {
        if (in.result != RESULT_OP1 || in.op != NOTHING || in.ap == AP_ADD)
            fail("%s is no instruction: a conditional jump that computes", value_text(v));
        in.result = RESULT_FREE;
    }
    if (in.op == CALL) {
        if (in.ap != AP_KEEP) fail("%s is no instruction: a call that moves ap", value_text(v));
        in.ap = AP_ADD2;
    }
    return in;
}
