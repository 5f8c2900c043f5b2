/* Four floats at once: WebAssembly SIMD where the target has it, else four scalars that a C99 compiler keeps in
   registers. Both add and multiply in the same order, so both give the same sums. */
#ifndef RC_VECTOR_H
#define RC_VECTOR_H

#include "base.h"

#if defined(__clang__)
#define RC_UNROLL _Pragma("clang loop unroll(full)")
#define RC_UNROLL_BY_2 _Pragma("clang loop unroll_count(2)")
#else
#define RC_UNROLL
#define RC_UNROLL_BY_2
#endif

/* rc_v4_max and rc_v4_min give `a` where either is NaN: one machine instruction each, unlike those that spread NaN.
   rc_v4_load_lanes reads, and rc_v4_store_lanes writes, no more than the first n floats. */
#if defined(__wasm_simd128__)
#include <wasm_simd128.h>

typedef v128_t rc_v4;

RC_INLINE rc_v4 rc_v4_load(const float *p) { return wasm_v128_load(p); }
RC_INLINE void rc_v4_store(float *p, rc_v4 a) { wasm_v128_store(p, a); }
RC_INLINE rc_v4 rc_v4_splat(float a) { return wasm_f32x4_splat(a); }
RC_INLINE rc_v4 rc_v4_add(rc_v4 a, rc_v4 b) { return wasm_f32x4_add(a, b); }
RC_INLINE rc_v4 rc_v4_sub(rc_v4 a, rc_v4 b) { return wasm_f32x4_sub(a, b); }
RC_INLINE rc_v4 rc_v4_mul(rc_v4 a, rc_v4 b) { return wasm_f32x4_mul(a, b); }
RC_INLINE rc_v4 rc_v4_div(rc_v4 a, rc_v4 b) { return wasm_f32x4_div(a, b); }
RC_INLINE rc_v4 rc_v4_max(rc_v4 a, rc_v4 b) { return wasm_f32x4_pmax(a, b); }
RC_INLINE rc_v4 rc_v4_min(rc_v4 a, rc_v4 b) { return wasm_f32x4_pmin(a, b); }

RC_INLINE rc_v4 rc_v4_load_lanes(const float *p, const int n) {
  if (n >= 4) return wasm_v128_load(p);
  if (n == 3) return wasm_v128_load32_lane(p + 2, wasm_v128_load64_zero(p), 2);
  return n == 2 ? wasm_v128_load64_zero(p) : wasm_v128_load32_zero(p);
}

RC_INLINE void rc_v4_store_lanes(float *p, rc_v4 a, const int n) {
  if (n >= 4) {
    wasm_v128_store(p, a);
    return;
  }
  if (n >= 2) wasm_v128_store64_lane(p, a, 0);
  if (n == 3) wasm_v128_store32_lane(p + 2, a, 2);
  if (n == 1) wasm_v128_store32_lane(p, a, 0);
}
#else
typedef struct {
  float x, y, z, w;
} rc_v4;

RC_INLINE rc_v4 rc_v4_of(float x, float y, float z, float w) {
  rc_v4 a;
  a.x = x;
  a.y = y;
  a.z = z;
  a.w = w;
  return a;
}

RC_INLINE float rc_larger(float a, float b) { return a < b ? b : a; }
RC_INLINE float rc_smaller(float a, float b) { return b < a ? b : a; }
RC_INLINE rc_v4 rc_v4_load(const float *p) { return rc_v4_of(p[0], p[1], p[2], p[3]); }
RC_INLINE rc_v4 rc_v4_splat(float a) { return rc_v4_of(a, a, a, a); }
RC_INLINE rc_v4 rc_v4_add(rc_v4 a, rc_v4 b) { return rc_v4_of(a.x + b.x, a.y + b.y, a.z + b.z, a.w + b.w); }
RC_INLINE rc_v4 rc_v4_sub(rc_v4 a, rc_v4 b) { return rc_v4_of(a.x - b.x, a.y - b.y, a.z - b.z, a.w - b.w); }
RC_INLINE rc_v4 rc_v4_mul(rc_v4 a, rc_v4 b) { return rc_v4_of(a.x * b.x, a.y * b.y, a.z * b.z, a.w * b.w); }
RC_INLINE rc_v4 rc_v4_div(rc_v4 a, rc_v4 b) { return rc_v4_of(a.x / b.x, a.y / b.y, a.z / b.z, a.w / b.w); }
RC_INLINE rc_v4 rc_v4_max(rc_v4 a, rc_v4 b) {
  return rc_v4_of(rc_larger(a.x, b.x), rc_larger(a.y, b.y), rc_larger(a.z, b.z), rc_larger(a.w, b.w));
}
RC_INLINE rc_v4 rc_v4_min(rc_v4 a, rc_v4 b) {
  return rc_v4_of(rc_smaller(a.x, b.x), rc_smaller(a.y, b.y), rc_smaller(a.z, b.z), rc_smaller(a.w, b.w));
}

RC_INLINE rc_v4 rc_v4_load_lanes(const float *p, const int n) {
  return rc_v4_of(p[0], n > 1 ? p[1] : 0, n > 2 ? p[2] : 0, n > 3 ? p[3] : 0);
}

RC_INLINE void rc_v4_store_lanes(float *p, rc_v4 a, const int n) {
  p[0] = a.x;
  if (n > 1) p[1] = a.y;
  if (n > 2) p[2] = a.z;
  if (n > 3) p[3] = a.w;
}

RC_INLINE void rc_v4_store(float *p, rc_v4 a) { rc_v4_store_lanes(p, a, 4); }
#endif

RC_INLINE rc_v4 rc_v4_madd(rc_v4 sum, rc_v4 a, rc_v4 b) { return rc_v4_add(sum, rc_v4_mul(a, b)); }

#endif
