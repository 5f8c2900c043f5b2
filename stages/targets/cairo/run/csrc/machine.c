#include "machine.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "failure.h"

/* `ret` */
static const uint64_t RETURN_WORD = UINT64_C(0x208b7fff7fff7ffe);
enum { BUILTIN_COSTS = 5 };


static uint64_t new_segment(machine *m) {
    return memory_add_segment(&m->memory);
}

void machine_start(machine *m, const program *p) {
    *m = (machine){.program = p, .next_box = none()};
    uint64_t words = p->words + WORDS_AFTER;
    m->decoded = calloc(words, sizeof *m->decoded);
    m->steps_at = calloc(words, sizeof *m->steps_at);
    m->cells_at = calloc(words, sizeof *m->cells_at);
    m->first_hint = calloc(words + 1, sizeof *m->first_hint);
    if (m->decoded == NULL || m->steps_at == NULL || m->cells_at == NULL || m->first_hint == NULL)
        must_realloc(NULL, SIZE_MAX, 1);
    for (uint64_t i = 0; i < p->hint_count; i++) m->first_hint[p->hints[i].pc + 1]++;
    for (uint64_t pc = 0; pc < words; pc++) m->first_hint[pc + 1] += m->first_hint[pc];
    new_segment(m); /* PROGRAM_SEGMENT */
    for (uint64_t pc = 0; pc < p->words; pc++) memory_set(&m->memory, PROGRAM_SEGMENT, pc, p->word[pc]);
}

void machine_free(machine *m) {
    memory_free(&m->memory);
    free(m->decoded);
    free(m->steps_at);
    free(m->cells_at);
    free(m->first_hint);
}

typedef struct {
    uint64_t segment, offset;
    value v;
    bool known; /* before the instruction ran */
} cell;

static cell look_up(const machine *m, uint64_t segment, uint64_t offset) {
    value v = memory_get(&m->memory, segment, offset);
    return (cell){segment, offset, v, !is_none(v)};
}

static cell stack_cell(const machine *m, uint8_t base, int16_t offset) {
    int64_t at = (int64_t)(base == FROM_FP ? m->fp : m->ap) + offset;
    if (at < 0) fail("an operand lies %" PRId64 " below the stack", -at);
    return look_up(m, STACK_SEGMENT, (uint64_t)at);
}

static cell second_operand(const machine *m, const instruction *in, const cell *op0) {
    switch (in->op1) {
        case OP1_IMMEDIATE:
            return look_up(m, PROGRAM_SEGMENT, m->pc + 1);
        case OP1_FP:
            return stack_cell(m, FROM_FP, in->op1_offset);
        case OP1_AP:
            return stack_cell(m, FROM_AP, in->op1_offset);
        default:
            if (!op0->known) fail("a pointer to follow, cell 1:%" PRIu64 ", was never written", op0->offset);
            if (!is_pointer(op0->v)) fail("%s is followed and is no pointer", value_text(op0->v));
            int64_t at = (int64_t)op0->v.limb[0] + in->op1_offset;
            if (at < 0) fail("an operand lies %" PRId64 " below its segment", -at);
            return look_up(m, op0->v.limb[1], (uint64_t)at);
    }
}

static void deduce_by_builtin(machine *m, cell *c) {
    if (c->known || c->segment >= m->memory.count || m->memory.segments[c->segment].deduce == NULL) return;
    c->v = m->memory.segments[c->segment].deduce(&m->memory, c->segment, c->offset);
}

/* What `other` leaves of an assertion's dst, where that is defined: dst - other, or dst / other. */
static value solved(const instruction *in, value dst, value other) {
    if (in->op != ASSERT_EQUAL || is_none(dst) || is_none(other)) return none();
    if (in->result == RESULT_ADD) return value_sub(dst, other);
    if (in->result != RESULT_MUL || is_pointer(dst) || is_pointer(other) || felt_is_zero(other)) return none();
    return felt_mul(dst, felt_inverse(other));
}

static void write_if_new(machine *m, const cell *c) {
    if (!c->known) memory_set(&m->memory, c->segment, c->offset, c->v);
}

static void jump_to(machine *m, value target) {
    if (!is_pointer(target)) fail("a jump to %s, which is no pointer", value_text(target));
    if (felt_equal(target, m->end))
        m->ended = true;
    else if (target.limb[1] != PROGRAM_SEGMENT)
        fail("a jump to %s, outside the program", value_text(target));
    else
        m->pc = target.limb[0];
}

static void jump_by(machine *m, value distance) {
    jump_to(m, value_add(pointer(PROGRAM_SEGMENT, m->pc), distance));
}

static void update_registers(machine *m, const instruction *in, value dst, value op1, value result) {
    if (in->op == CALL) {
        m->fp = m->ap + 2;
    } else if (in->op == RETURN && is_pointer(dst)) {
        if (dst.limb[1] != STACK_SEGMENT) fail("a return with frame %s, outside the stack", value_text(dst));
        m->fp = dst.limb[0];
    }
    if (in->ap == AP_ADD)
        m->ap = value_add(pointer(STACK_SEGMENT, m->ap), result).limb[0];
    else
        m->ap += in->ap == AP_ADD1 ? 1 : in->ap == AP_ADD2 ? 2 : 0;
    switch (in->pc) {
        case PC_NEXT:
            m->pc += in->size;
            break;
        case PC_JUMP:
            jump_to(m, result);
            break;
        case PC_JUMP_RELATIVE:
            if (is_pointer(result)) fail("a jump by %s, which is no distance", value_text(result));
            jump_by(m, result);
            break;
        default: /* PC_JUMP_NONZERO */
            if (!is_pointer(dst) && felt_is_zero(dst))
                m->pc += in->size;
            else
                jump_by(m, op1);
    }
    if (in->op == RETURN && !m->ended && !is_pointer(dst)) fail("a return with frame %s", value_text(dst));
}

/* One instruction with its hints. The order in which unknown operands are deduced is StarkWare's. */
static void step(machine *m) {
    if (m->pc >= m->program->words + WORDS_AFTER) fail("the program counter leaves the program");
    uint64_t written = m->memory.written;
    for (uint64_t i = m->first_hint[m->pc]; i < m->first_hint[m->pc + 1]; i++) hint_run(m, &m->program->hints[i]);
    if (m->decoded[m->pc].size == 0)
        m->decoded[m->pc] = instruction_of(memory_need(&m->memory, PROGRAM_SEGMENT, m->pc));
    const instruction *in = &m->decoded[m->pc];

    cell dst = stack_cell(m, in->dst_base, in->dst_offset);
    cell op0 = stack_cell(m, in->op0_base, in->op0_offset);
    cell op1 = second_operand(m, in, &op0);
    deduce_by_builtin(m, &op0);
    deduce_by_builtin(m, &op1);
    value next = pointer(PROGRAM_SEGMENT, m->pc + in->size), frame = pointer(STACK_SEGMENT, m->fp);
    if (is_none(op0.v)) op0.v = in->op == CALL ? next : solved(in, dst.v, op1.v);
    if (is_none(op1.v))
        op1.v = in->op == ASSERT_EQUAL && in->result == RESULT_OP1 ? dst.v : solved(in, dst.v, op0.v);
    if (is_none(op0.v)) fail("operand %" PRIu64 ":%" PRIu64 " was never written", op0.segment, op0.offset);
    if (is_none(op1.v)) fail("operand %" PRIu64 ":%" PRIu64 " was never written", op1.segment, op1.offset);

    value result = in->result == RESULT_OP1   ? op1.v
                   : in->result == RESULT_ADD ? value_add(op0.v, op1.v)
                   : in->result == RESULT_MUL ? value_mul(op0.v, op1.v)
                                              : none();
    if (is_none(dst.v)) {
        if (in->op == ASSERT_EQUAL)
            dst.v = result;
        else if (in->op == CALL)
            dst.v = frame;
        if (is_none(dst.v)) fail("cell 1:%" PRIu64 " is read and was never written", dst.offset);
    }
    write_if_new(m, &dst);
    write_if_new(m, &op0);
    write_if_new(m, &op1);

    if (in->op == ASSERT_EQUAL && !felt_equal(dst.v, result))
        fail("an assertion fails: %s is not %s", value_text(dst.v), value_text(result));
    if (in->op == CALL && !(felt_equal(op0.v, next) && felt_equal(dst.v, frame)))
        fail("a call finds %s and %s where it keeps the way back", value_text(op0.v), value_text(dst.v));
    m->steps_at[m->pc]++;
    m->cells_at[m->pc] += m->memory.written - written;
    m->steps++;
    update_registers(m, in, dst.v, op1.v, result);
}

static value push(machine *m, value v) {
    memory_set(&m->memory, STACK_SEGMENT, m->ap++, v);
    return v;
}

static value result_at(const machine *m, uint64_t from_end) {
    return memory_need(&m->memory, STACK_SEGMENT, m->ap - from_end);
}

static void take_result(machine *m, const uint64_t *builtins) {
    value panicked = result_at(m, 3), start = result_at(m, 2), end = result_at(m, 1);
    if (!is_pointer(start) || !is_pointer(end) || start.limb[1] != end.limb[1] || start.limb[0] > end.limb[0])
        fail("the program returns %s to %s, which is no array", value_text(start), value_text(end));
    for (uint64_t i = 0; i < m->program->builtin_count; i++) {
        builtin_kind kind = m->program->builtins[i];
        m->uses[kind] = builtin_uses(&m->memory, kind, builtins[i], result_at(m, 5 + m->program->builtin_count - i));
    }
    m->panicked = is_pointer(panicked) || !felt_is_zero(panicked);
    m->result_segment = start.limb[1];
    m->result_start = start.limb[0];
    m->result_end = end.limb[0];
}

void machine_call(machine *m, const value *data, uint64_t count) {
    const program *p = m->program;
    new_segment(m); /* STACK_SEGMENT */
    uint64_t builtins[BUILTIN_KINDS];
    for (uint64_t i = 0; i < p->builtin_count; i++) builtins[i] = builtin_add_segment(&m->memory, p->builtins[i]);
    uint64_t system = new_segment(m), costs = new_segment(m);
    for (uint64_t i = 0; i < BUILTIN_COSTS; i++) memory_set(&m->memory, costs, i, felt_of(0));
    memory_set(&m->memory, PROGRAM_SEGMENT, p->words, felt_of(RETURN_WORD));
    memory_set(&m->memory, PROGRAM_SEGMENT, p->words + 1, pointer(costs, 0));
    m->memory.segments[PROGRAM_SEGMENT].limit = p->words + WORDS_AFTER;
    uint64_t arguments = new_segment(m);
    for (uint64_t i = 0; i < count; i++) memory_set(&m->memory, arguments, i, data[i]);
    m->end = pointer(new_segment(m), 0);

    for (uint64_t i = 0; i < p->builtin_count; i++) push(m, pointer(builtins[i], 0));
    push(m, felt_of(p->gas));
    push(m, pointer(system, 0));
    push(m, pointer(arguments, 0));
    push(m, pointer(arguments, count));
    push(m, felt_of(0)); /* the caller's frame: it has none */
    push(m, m->end);
    m->fp = m->ap;
    m->pc = p->entry_point;
    while (!m->ended) {
        if (m->steps == p->most_steps) fail("the program has not ended after %" PRIu64 " steps", m->steps);
        step(m);
    }
    take_result(m, builtins);
}
