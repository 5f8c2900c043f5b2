/* An instruction, taken apart.

   The encoding is that of Goldberg, Papini, Riabzev, "Cairo: a Turing-complete STARK-friendly CPU architecture", 4.4:
   three offsets of 16 bits, biased by 2^15, and 15 flags. */
#ifndef RECAST_CAIRO_INSTRUCTION_H
#define RECAST_CAIRO_INSTRUCTION_H

#include "memory.h"

typedef enum { FROM_AP, FROM_FP } base_register;
typedef enum { OP1_OP0, OP1_IMMEDIATE, OP1_FP, OP1_AP } op1_source;
typedef enum { RESULT_OP1, RESULT_ADD, RESULT_MUL, RESULT_FREE } result_logic;
typedef enum { PC_NEXT, PC_JUMP, PC_JUMP_RELATIVE, PC_JUMP_NONZERO } pc_update;
typedef enum { AP_KEEP, AP_ADD, AP_ADD1, AP_ADD2 } ap_update;
typedef enum { NOTHING, CALL, RETURN, ASSERT_EQUAL } operation;

typedef struct {
    int16_t dst_offset, op0_offset, op1_offset;
    uint8_t dst_base, op0_base; /* base_register */
    uint8_t op1, result, pc, ap; /* op1_source, result_logic, pc_update, ap_update */
    uint8_t op;                  /* operation */
    uint8_t size;                /* felts: 2 with an immediate; 0: not taken apart yet */
} instruction;

/* The instruction that `word` encodes. Fails if it is none. */
instruction instruction_of(value word);

#endif
