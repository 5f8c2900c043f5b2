/* Four floats at once: WebAssembly SIMD where the target has it, else four scalars that a C99 compiler keeps in
   registers. Both add and multiply in the same order, so both give the same sums. */
#ifndef VECTOR_H
#define VECTOR_H

#if defined(__GNUC__)
#define INLINE static inline __attribute__((always_inline))
#else
#define INLINE static inline
#endif
#if defined(__clang__)
#define UNROLL _Pragma("clang loop unroll(full)")
#define UNROLL_BY_2 _Pragma("clang loop unroll_count(2)")
#else
#define UNROLL
#define UNROLL_BY_2
#endif

/* v4_max and v4_min give `a` where either is NaN: one machine instruction each, unlike those that spread NaN.
   v4_load_lanes reads, and v4_store_lanes writes, no more than the first n floats. */
#if defined(__wasm_simd128__)
#include <wasm_simd128.h>

typedef v128_t v4;

INLINE v4 v4_load(const float *p) { return wasm_v128_load(p); }
INLINE void v4_store(float *p, v4 a) { wasm_v128_store(p, a); }
INLINE v4 v4_splat(float a) { return wasm_f32x4_splat(a); }
INLINE v4 v4_add(v4 a, v4 b) { return wasm_f32x4_add(a, b); }
INLINE v4 v4_sub(v4 a, v4 b) { return wasm_f32x4_sub(a, b); }
INLINE v4 v4_mul(v4 a, v4 b) { return wasm_f32x4_mul(a, b); }
INLINE v4 v4_div(v4 a, v4 b) { return wasm_f32x4_div(a, b); }
INLINE v4 v4_max(v4 a, v4 b) { return wasm_f32x4_pmax(a, b); }
INLINE v4 v4_min(v4 a, v4 b) { return wasm_f32x4_pmin(a, b); }

INLINE v4 v4_load_lanes(const float *p, const int n) {
  if (n >= 4) return wasm_v128_load(p);
  if (n == 3) return wasm_v128_load32_lane(p + 2, wasm_v128_load64_zero(p), 2);
  return n == 2 ? wasm_v128_load64_zero(p) : wasm_v128_load32_zero(p);
}

INLINE void v4_store_lanes(float *p, v4 a, const int n) {
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
} v4;

INLINE v4 v4_of(float x, float y, float z, float w) {
  v4 a;
  a.x = x;
  a.y = y;
  a.z = z;
  a.w = w;
  return a;
}

INLINE float larger(float a, float b) { return a < b ? b : a; }
INLINE float smaller(float a, float b) { return b < a ? b : a; }
INLINE v4 v4_load(const float *p) { return v4_of(p[0], p[1], p[2], p[3]); }
INLINE v4 v4_splat(float a) { return v4_of(a, a, a, a); }
INLINE v4 v4_add(v4 a, v4 b) { return v4_of(a.x + b.x, a.y + b.y, a.z + b.z, a.w + b.w); }
INLINE v4 v4_sub(v4 a, v4 b) { return v4_of(a.x - b.x, a.y - b.y, a.z - b.z, a.w - b.w); }
INLINE v4 v4_mul(v4 a, v4 b) { return v4_of(a.x * b.x, a.y * b.y, a.z * b.z, a.w * b.w); }
INLINE v4 v4_div(v4 a, v4 b) { return v4_of(a.x / b.x, a.y / b.y, a.z / b.z, a.w / b.w); }
INLINE v4 v4_max(v4 a, v4 b) { return v4_of(larger(a.x, b.x), larger(a.y, b.y), larger(a.z, b.z), larger(a.w, b.w)); }
INLINE v4 v4_min(v4 a, v4 b) {
  return v4_of(smaller(a.x, b.x), smaller(a.y, b.y), smaller(a.z, b.z), smaller(a.w, b.w));
}

INLINE v4 v4_load_lanes(const float *p, const int n) {
  return v4_of(p[0], n > 1 ? p[1] : 0, n > 2 ? p[2] : 0, n > 3 ? p[3] : 0);
}

INLINE void v4_store_lanes(float *p, v4 a, const int n) {
  p[0] = a.x;
  if (n > 1) p[1] = a.y;
  if (n > 2) p[2] = a.z;
  if (n > 3) p[3] = a.w;
}

INLINE void v4_store(float *p, v4 a) { v4_store_lanes(p, a, 4); }
#endif

INLINE v4 v4_madd(v4 sum, v4 a, v4 b) { return v4_add(sum, v4_mul(a, b)); }

#endif
