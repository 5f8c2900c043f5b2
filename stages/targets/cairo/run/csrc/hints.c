#include "hints.h"

#include "failure.h"
#include "machine.h"

static uint64_t place(const machine *m, uint8_t base, int64_t offset) {
    return (base == FROM_FP ? m->fp : m->ap) + (uint64_t)offset;
}

static value evaluate(const machine *m, const operand *o) {
    if (o->kind == IMMEDIATE) return o->immediate;
    value a = memory_need(&m->memory, STACK_SEGMENT, place(m, o->a_base, o->a_offset));
    if (o->kind == CELL) return a;
    if (o->kind == DOUBLE) {
        if (!is_pointer(a)) fail("a hint follows %s, which is no pointer", value_text(a));
        return memory_need(&m->memory, a.limb[1], a.limb[0] + (uint64_t)o->b_offset);
    }
    value b = o->has_b ? memory_need(&m->memory, STACK_SEGMENT, place(m, o->b_base, o->b_offset)) : o->immediate;
    return o->kind == SUM ? value_add(a, b) : value_mul(a, b);
}

static felt integer(const machine *m, const operand *o) {
    value v = evaluate(m, o);
    if (is_pointer(v)) fail("a hint needs an integer and finds the pointer %s", value_text(v));
    return v;
}

static void give(machine *m, const operand *o, value v) {
    memory_set(&m->memory, STACK_SEGMENT, place(m, o->a_base, o->a_offset), v);
}

/* Boxes lie one behind the other in a segment that is added for the first of them. */
static void give_box(machine *m, const operand *o) {
    if (is_none(m->next_box)) m->next_box = pointer(memory_add_segment(&m->memory), 0);
    give(m, &o[1], m->next_box);
    m->next_box = value_add(m->next_box, integer(m, &o[0]));
}

/* value = x * scalar + y with the largest x up to max_x; y may be as large as it then must. */
static void split(machine *m, const operand *o) {
    felt whole = integer(m, &o[0]), scalar = integer(m, &o[1]), max_x = integer(m, &o[2]), x, rest;
    if (felt_is_zero(scalar)) fail("a hint divides %s by 0", value_text(whole));
    felt_divmod(whole, scalar, &x, &rest);
    if (felt_less(max_x, x)) x = max_x;
    give(m, &o[3], x);
    give(m, &o[4], felt_sub(whole, felt_mul(x, scalar)));
}

/* The 256 bits of the product of two integers below 2^128. */
static void wide_product(uint128 a, uint128 b, uint128 *high, uint128 *low) {
    const uint128 half = UINT64_MAX;
    uint128 low_low = (a & half) * (b & half), high_low = (a >> 64) * (b & half), low_high = (a & half) * (b >> 64);
    uint128 middle = (low_low >> 64) + (high_low & half) + (low_high & half);
    *low = middle << 64 | (low_low & half);
    *high = (a >> 64) * (b >> 64) + (high_low >> 64) + (low_high >> 64) + (middle >> 64);
}

void hint_run(machine *m, const hint *h) {
    const operand *o = h->operands;
    if (h->kind == ALLOC_SEGMENT) {
        give(m, &o[0], pointer(memory_add_segment(&m->memory), 0));
        return;
    }
    if (h->kind == ALLOC_CONSTANT_SIZE) {
        give_box(m, o);
        return;
    }
    if (h->kind == LINEAR_SPLIT) {
        split(m, o);
        return;
    }
    felt left = integer(m, &o[0]), right = integer(m, &o[1]);
    felt first, second;
    switch (h->kind) {
        case TEST_LESS_THAN:
            give(m, &o[2], felt_of(felt_less(left, right)));
            return;
        case TEST_LESS_THAN_OR_EQUAL:
            give(m, &o[2], felt_of(!felt_less(right, left)));
            return;
        case DIV_MOD:
            if (felt_is_zero(right)) fail("a hint divides %s by 0", value_text(left));
            felt_divmod(left, right, &first, &second);
            break;
        default: { /* WIDE_MUL_128: the kinds were checked when the program was read */
            if (!felt_is_uint128(left) || !felt_is_uint128(right))
                fail("a hint multiplies %s and %s, not both below 2^128", value_text(left), value_text(right));
            uint128 high, low;
            wide_product(felt_to_uint128(left), felt_to_uint128(right), &high, &low);
            first = felt_of_uint128(high);
            second = felt_of_uint128(low);
        }
    }
    give(m, &o[2], first);
    give(m, &o[3], second);
}
