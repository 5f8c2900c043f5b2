/* Runs a Cairo program on inputs: reads both from standard input, writes what came of them to standard output.

   All numbers are 64-bit and little-endian, all felts four of them. In: FORMAT, the program's size and felts, entry
   point, number of builtins and each one, gas, most steps, whether the memory is wanted, number of hints and each hint,
   number of inputs, and for each input its size and felts. Out, for each input: whether it ran; if not, the program
   counter, the steps, and the reason as a size and bytes; else whether it panicked, the steps, the cells written, the
   uses of each builtin, the result's size and felts, how often each program counter was reached, how many cells were
   first written there, and, if wanted, the number of segments and for each its size and values. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "failure.h"
#include "machine.h"

#define FORMAT UINT64_C(0x4d56545341434552) /* "RECASTVM" */

static uint64_t read_number(void) {
    uint8_t bytes[8];
    if (fread(bytes, 1, sizeof bytes, stdin) != sizeof bytes) {
        fprintf(stderr, "the input ends too early\n");
        exit(2);
    }
    uint64_t number = 0;
    for (int i = 7; i >= 0; i--) number = number << 8 | bytes[i];
    return number;
}

static void write_number(uint64_t number) {
    uint8_t bytes[8];
    for (int i = 0; i < 8; i++) bytes[i] = (uint8_t)(number >> (8 * i));
    fwrite(bytes, 1, sizeof bytes, stdout);
}

static void require(bool held, const char *what) {
    if (held) return;
    fprintf(stderr, "the input is malformed: %s\n", what);
    exit(2);
}

static value read_felt(void) {
    value v;
    for (int i = 0; i < 4; i++) v.limb[i] = read_number();
    require(felt_equal(v, felt_reduce_once(v)) && v.limb[3] <= P3, "a felt is not below P");
    return v;
}

static value *read_felts(uint64_t *count) {
    *count = read_number();
    value *felts = must_realloc(NULL, *count + 1, sizeof *felts);
    for (uint64_t i = 0; i < *count; i++) felts[i] = read_felt();
    return felts;
}

static void write_value(value v) {
    for (int i = 0; i < 4; i++) write_number(v.limb[i]);
}

static operand read_operand(void) {
    operand o = {.kind = (uint8_t)read_number(), .a_base = (uint8_t)read_number()};
    o.a_offset = (int64_t)read_number();
    o.has_b = (uint8_t)read_number();
    o.b_base = (uint8_t)read_number();
    o.b_offset = (int64_t)read_number();
    o.immediate = read_felt();
    require(o.kind <= PRODUCT, "an operand of a hint");
    return o;
}

static void read_hints(program *p) {
    p->hint_count = read_number();
    p->hints = must_realloc(NULL, p->hint_count + 1, sizeof *p->hints);
    for (uint64_t i = 0; i < p->hint_count; i++) {
        hint *h = &p->hints[i];
        h->pc = read_number();
        h->kind = read_number();
        require(h->kind < HINT_KINDS && h->pc < p->words && (i == 0 || p->hints[i - 1].pc <= h->pc), "a hint");
        for (int j = 0; j < HINT_OPERANDS; j++) h->operands[j] = read_operand();
    }
}

static void read_program(program *p, bool *want_memory) {
    require(read_number() == FORMAT, "its format is another one");
    p->word = read_felts(&p->words);
    p->entry_point = read_number();
    p->builtin_count = read_number();
    require(p->builtin_count <= BUILTIN_KINDS, "too many builtins");
    p->builtins = must_realloc(NULL, p->builtin_count + 1, sizeof *p->builtins);
    for (uint64_t i = 0; i < p->builtin_count; i++) {
        p->builtins[i] = (uint8_t)read_number();
        require(p->builtins[i] < BUILTIN_KINDS, "an unknown builtin");
    }
    p->gas = read_number();
    p->most_steps = read_number();
    *want_memory = read_number() != 0;
    read_hints(p);
}

static void write_memory(const memory *m) {
    write_number(m->count);
    for (uint64_t i = 0; i < m->count; i++) {
        write_number(m->segments[i].size);
        for (uint64_t j = 0; j < m->segments[i].size; j++) write_value(m->segments[i].cells[j]);
    }
}

static void write_run(const machine *m, bool want_memory) {
    write_number(1);
    write_number(m->panicked);
    write_number(m->steps);
    write_number(m->memory.written);
    for (int kind = 0; kind < BUILTIN_KINDS; kind++) write_number(m->uses[kind]);
    write_number(m->result_end - m->result_start);
    for (uint64_t i = m->result_start; i < m->result_end; i++) write_value(memory_get(&m->memory, m->result_segment, i));
    for (uint64_t pc = 0; pc < m->program->words + WORDS_AFTER; pc++) write_number(m->steps_at[pc]);
    for (uint64_t pc = 0; pc < m->program->words + WORDS_AFTER; pc++) write_number(m->cells_at[pc]);
    if (want_memory) write_memory(&m->memory);
}

static void write_failure(const machine *m) {
    write_number(0);
    write_number(m->pc);
    write_number(m->steps);
    write_number(strlen(the_failure.text));
    fwrite(the_failure.text, 1, strlen(the_failure.text), stdout);
}

static void run_one(const program *p, bool want_memory) {
    static machine m; /* static, as what follows is: a failure jumps back here */
    static value *data;
    uint64_t count;
    data = read_felts(&count);
    if (setjmp(the_failure.back) == 0) {
        machine_start(&m, p);
        machine_call(&m, data, count);
        write_run(&m, want_memory);
    } else {
        write_failure(&m);
    }
    machine_free(&m);
    free(data);
}

int main(void) {
    program p;
    bool want_memory;
    read_program(&p, &want_memory);
    uint64_t runs = read_number();
    while (runs-- > 0) run_one(&p, want_memory);
    return fflush(stdout) == 0 ? 0 : 4;
}
