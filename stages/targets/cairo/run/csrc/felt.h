/* Arithmetic of the field Cairo computes in: integers modulo P = 2^251 + 17*2^192 + 1.

   A felt is kept as the integer itself, 0 <= felt < P, in four 64-bit limbs, the lowest first: hints, range checks and
   pointers look at integers at every step, so that Montgomery's form would be left more often than it is used. */
#ifndef RECAST_CAIRO_FELT_H
#define RECAST_CAIRO_FELT_H

#include <stdbool.h>
#include <stdint.h>

typedef unsigned __int128 uint128;

typedef struct {
    uint64_t limb[4];
} felt;

/* The limbs of P that are not 0 or 1: P = 1 + P3 * 2^192. */
#define P3 UINT64_C(0x0800000000000011)

static inline felt felt_of(uint64_t small) {
    return (felt){{small, 0, 0, 0}};
}

static inline felt felt_of_uint128(uint128 wide) {
    return (felt){{(uint64_t)wide, (uint64_t)(wide >> 64), 0, 0}};
}

static inline bool felt_is_zero(felt a) {
    return (a.limb[0] | a.limb[1] | a.limb[2] | a.limb[3]) == 0;
}

static inline bool felt_equal(felt a, felt b) {
    return ((a.limb[0] ^ b.limb[0]) | (a.limb[1] ^ b.limb[1]) | (a.limb[2] ^ b.limb[2]) | (a.limb[3] ^ b.limb[3])) == 0;
}

static inline bool felt_less(felt a, felt b) {
    for (int i = 3; i >= 0; i--)
        if (a.limb[i] != b.limb[i]) return a.limb[i] < b.limb[i];
    return false;
}

/* Below 2^128, as the range check builtin asks. */
static inline bool felt_is_uint128(felt a) {
    return (a.limb[2] | a.limb[3]) == 0;
}

static inline uint128 felt_to_uint128(felt a) {
    return (uint128)a.limb[1] << 64 | a.limb[0];
}

/* The integer a, below 2P, taken modulo P. */
static inline felt felt_reduce_once(felt a) {
    if (a.limb[3] < P3) return a;
    if (a.limb[3] == P3 && (a.limb[0] | a.limb[1] | a.limb[2]) == 0) return a;
    a.limb[3] -= P3;
    for (int i = 0; i < 4; i++)
        if (a.limb[i]-- != 0) break;
    return a;
}

static inline felt felt_add(felt a, felt b) {
    felt sum;
    uint128 carry = 0;
    for (int i = 0; i < 4; i++) {
        carry += (uint128)a.limb[i] + b.limb[i];
        sum.limb[i] = (uint64_t)carry;
        carry >>= 64;
    }
    return felt_reduce_once(sum);
}

static inline felt felt_sub(felt a, felt b) {
    felt difference;
    uint64_t borrow = 0;
    for (int i = 0; i < 4; i++) {
        uint128 wide = (uint128)a.limb[i] - b.limb[i] - borrow;
        difference.limb[i] = (uint64_t)wide;
        borrow = (uint64_t)(wide >> 64) & 1;
    }
    if (!borrow) return difference;
    difference.limb[3] += P3;
    for (int i = 0; i < 4; i++)
        if (++difference.limb[i] != 0) break;
    return difference;
}

/* a * b / 2^256, after Montgomery (1985): since P = 1 modulo 2^64, the multiple of P that clears the lowest limb is the
   limb's negative, and adding it takes one multiplication. */
static inline felt felt_montgomery(felt a, felt b) {
    uint64_t t[6] = {0};
    for (int i = 0; i < 4; i++) {
        uint128 carry = 0;
        for (int j = 0; j < 4; j++) {
            carry += (uint128)a.limb[i] * b.limb[j] + t[j];
            t[j] = (uint64_t)carry;
            carry >>= 64;
        }
        carry += t[4];
        t[4] = (uint64_t)carry;
        t[5] = (uint64_t)(carry >> 64);
        uint64_t multiple = 0 - t[0];
        carry = t[0] != 0; /* t[0] + multiple = 2^64, or 0 if both are 0 */
        for (int j = 1; j < 3; j++) {
            carry += t[j];
            t[j - 1] = (uint64_t)carry;
            carry >>= 64;
        }
        carry += (uint128)multiple * P3 + t[3];
        t[2] = (uint64_t)carry;
        carry = (carry >> 64) + t[4];
        t[3] = (uint64_t)carry;
        t[4] = t[5] + (uint64_t)(carry >> 64);
    }
    return felt_reduce_once((felt){{t[0], t[1], t[2], t[3]}});
}

/* 2^512 modulo P, which undoes Montgomery's division by 2^256 twice. */
#define FELT_R2                                                                                             \
    ((felt){{UINT64_C(0xfffffd737e000401), UINT64_C(0x00000001330fffff), UINT64_C(0xffffffffff6f8000), \
             UINT64_C(0x07ffd4ab5e008810)}})

static inline felt felt_mul(felt a, felt b) {
    if ((a.limb[1] | a.limb[2] | a.limb[3] | b.limb[1] | b.limb[2] | b.limb[3]) == 0)
        return felt_of_uint128((uint128)a.limb[0] * b.limb[0]);
    return felt_montgomery(felt_montgomery(a, b), FELT_R2);
}

/* The inverse of a, which is not 0: a^(P-2). */
static inline felt felt_inverse(felt a) {
    /* P - 2 = (P3 - 1) * 2^192 + 2^192 - 1 */
    const uint64_t exponent[4] = {UINT64_MAX, UINT64_MAX, UINT64_MAX, P3 - 1};
    felt power = felt_of(1);
    for (int bit = 251; bit >= 0; bit--) {
        power = felt_mul(power, power);
        if (exponent[bit / 64] >> (bit % 64) & 1) power = felt_mul(power, a);
    }
    return power;
}

/* a as an offset around zero; false if it does not fit in 62 bits and a sign. */
static inline bool felt_to_offset(felt a, int64_t *offset) {
    if ((a.limb[1] | a.limb[2] | a.limb[3]) == 0 && a.limb[0] >> 62 == 0) {
        *offset = (int64_t)a.limb[0];
        return true;
    }
    felt negative = felt_sub(felt_of(0), a);
    if ((negative.limb[1] | negative.limb[2] | negative.limb[3]) != 0 || negative.limb[0] >> 62 != 0) return false;
    *offset = -(int64_t)negative.limb[0];
    return true;
}

/* Quotient and remainder of the integers a / b, b not 0, by the school's long division in binary, or by the
   machine's own where both fit. */
static inline void felt_divmod(felt a, felt b, felt *quotient, felt *remainder) {
    if (felt_is_uint128(a) && felt_is_uint128(b)) {
        *quotient = felt_of_uint128(felt_to_uint128(a) / felt_to_uint128(b));
        *remainder = felt_of_uint128(felt_to_uint128(a) % felt_to_uint128(b));
        return;
    }
    felt rest = felt_of(0), result = felt_of(0);
    for (int bit = 255; bit >= 0; bit--) {
        for (int i = 3; i > 0; i--) rest.limb[i] = rest.limb[i] << 1 | rest.limb[i - 1] >> 63;
        rest.limb[0] = rest.limb[0] << 1 | (a.limb[bit / 64] >> (bit % 64) & 1);
        if (felt_less(rest, b)) continue;
        rest = felt_sub(rest, b); /* no borrow, so that this is the integers' difference */
        result.limb[bit / 64] |= UINT64_C(1) << (bit % 64);
    }
    *quotient = result;
    *remainder = rest;
}

#endif
