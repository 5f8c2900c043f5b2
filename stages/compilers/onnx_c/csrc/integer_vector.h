/* Eight int16 or four int32 at once, as `vector.h` does it for floats. A quantized activation is kept as the int16
   q - zero point, so that the border of a buffer is 0 as in float, and two products are summed by one instruction. */
#ifndef RC_INTEGER_VECTOR_H
#define RC_INTEGER_VECTOR_H

#include "vector.h"

#define RC_ROUNDING 12582912.0f /* 1.5 * 2^23: adding it rounds |a| < 2^22 to an integer, halves to the even one */

/* rc_h8_pair: the two values at p, four times. rc_h8_widen: 8 int8. rc_i4_dot: sum + a0 b0 + a1 b1 in each lane. */
#if defined(__wasm_simd128__)
typedef v128_t rc_h8;
typedef v128_t rc_i4;

RC_INLINE rc_h8 rc_h8_load(const int16_t *p) { return wasm_v128_load(p); }
RC_INLINE void rc_h8_store(int16_t *p, rc_h8 a) { wasm_v128_store(p, a); }
RC_INLINE rc_h8 rc_h8_splat(int16_t a) { return wasm_i16x8_splat(a); }
RC_INLINE rc_h8 rc_h8_pair(const int16_t *p) { return wasm_v128_load32_splat(p); }
RC_INLINE rc_h8 rc_h8_widen(const int8_t *p) { return wasm_i16x8_load8x8(p); }
RC_INLINE rc_h8 rc_h8_add(rc_h8 a, rc_h8 b) { return wasm_i16x8_add(a, b); }
RC_INLINE rc_h8 rc_h8_sub(rc_h8 a, rc_h8 b) { return wasm_i16x8_sub(a, b); }
RC_INLINE rc_h8 rc_h8_max(rc_h8 a, rc_h8 b) { return wasm_i16x8_max(a, b); }
RC_INLINE rc_h8 rc_h8_narrow(rc_i4 low, rc_i4 high) { return wasm_i16x8_narrow_i32x4(low, high); }
RC_INLINE rc_i4 rc_h8_low(rc_h8 a) { return wasm_i32x4_extend_low_i16x8(a); }
RC_INLINE rc_i4 rc_h8_high(rc_h8 a) { return wasm_i32x4_extend_high_i16x8(a); }
/* a0 b0 a1 b1 a2 b2 a3 b3, and the same of the upper halves */
RC_INLINE rc_h8 rc_h8_zip_low(rc_h8 a, rc_h8 b) { return wasm_i16x8_shuffle(a, b, 0, 8, 1, 9, 2, 10, 3, 11); }
RC_INLINE rc_h8 rc_h8_zip_high(rc_h8 a, rc_h8 b) { return wasm_i16x8_shuffle(a, b, 4, 12, 5, 13, 6, 14, 7, 15); }

RC_INLINE rc_h8 rc_h8_load_lanes(const int16_t *p, const int n) {
  rc_h8 a = wasm_i16x8_const_splat(0);
  if (n >= 8) return wasm_v128_load(p);
  if (n >= 4) a = wasm_v128_load64_zero(p);
  if (n == 7) return wasm_v128_load16_lane(p + 6, wasm_v128_load32_lane(p + 4, a, 2), 6);
  if (n == 6) return wasm_v128_load32_lane(p + 4, a, 2);
  if (n == 5) return wasm_v128_load16_lane(p + 4, a, 4);
  if (n == 4) return a;
  if (n >= 2) a = wasm_v128_load32_zero(p);
  if (n == 3) return wasm_v128_load16_lane(p + 2, a, 2);
  return n == 2 ? a : wasm_v128_load16_lane(p, a, 0);
}

RC_INLINE void rc_h8_store_lanes(int16_t *p, rc_h8 a, const int n) {
  if (n >= 8) {
    wasm_v128_store(p, a);
    return;
  }
  if (n >= 4) wasm_v128_store64_lane(p, a, 0);
  if (n >= 6) wasm_v128_store32_lane(p + 4, a, 2);
  if (n == 2 || n == 3) wasm_v128_store32_lane(p, a, 0);
  if (n == 7) wasm_v128_store16_lane(p + 6, a, 6);
  if (n == 5) wasm_v128_store16_lane(p + 4, a, 4);
  if (n == 3) wasm_v128_store16_lane(p + 2, a, 2);
  if (n == 1) wasm_v128_store16_lane(p, a, 0);
}

RC_INLINE rc_i4 rc_i4_load(const int32_t *p) { return wasm_v128_load(p); }
RC_INLINE void rc_i4_store(int32_t *p, rc_i4 a) { wasm_v128_store(p, a); }
RC_INLINE rc_i4 rc_i4_splat(int32_t a) { return wasm_i32x4_splat(a); }
RC_INLINE rc_i4 rc_i4_add(rc_i4 a, rc_i4 b) { return wasm_i32x4_add(a, b); }
RC_INLINE rc_i4 rc_i4_sub(rc_i4 a, rc_i4 b) { return wasm_i32x4_sub(a, b); }
RC_INLINE rc_i4 rc_i4_quarter(rc_i4 a) { return wasm_i32x4_shr(a, 2); }
RC_INLINE rc_i4 rc_i4_dot(rc_i4 sum, rc_h8 a, rc_h8 b) {
  return wasm_i32x4_add(sum, wasm_i32x4_dot_i16x8(a, b));
}
RC_INLINE rc_v4 rc_i4_to_float(rc_i4 a) { return wasm_f32x4_convert_i32x4(a); }

/* the bits of 1.5 * 2^23 + k are those of 1.5 * 2^23, plus k */
RC_INLINE rc_i4 rc_i4_round(rc_v4 a) {
  return wasm_i32x4_sub(wasm_f32x4_add(a, wasm_f32x4_const_splat(RC_ROUNDING)), wasm_i32x4_const_splat(0x4B400000));
}
#else
typedef struct {
  int16_t a, b, c, d, e, f, g, h;
} rc_h8;
typedef struct {
  int32_t x, y, z, w;
} rc_i4;

RC_INLINE rc_h8 rc_h8_of(int a, int b, int c, int d, int e, int f, int g, int h) {
  rc_h8 v;
  v.a = (int16_t)a;
  v.b = (int16_t)b;
  v.c = (int16_t)c;
  v.d = (int16_t)d;
  v.e = (int16_t)e;
  v.f = (int16_t)f;
  v.g = (int16_t)g;
  v.h = (int16_t)h;
  return v;
}

RC_INLINE rc_i4 rc_i4_of(int32_t x, int32_t y, int32_t z, int32_t w) {
  rc_i4 v;
  v.x = x;
  v.y = y;
  v.z = z;
  v.w = w;
  return v;
}

RC_INLINE rc_h8 rc_h8_load_lanes(const int16_t *p, const int n) {
  return rc_h8_of(p[0], n > 1 ? p[1] : 0, n > 2 ? p[2] : 0, n > 3 ? p[3] : 0, n > 4 ? p[4] : 0, n > 5 ? p[5] : 0,
                  n > 6 ? p[6] : 0, n > 7 ? p[7] : 0);
}

RC_INLINE void rc_h8_store_lanes(int16_t *p, rc_h8 a, const int n) {
  p[0] = a.a;
  if (n > 1) p[1] = a.b;
  if (n > 2) p[2] = a.c;
  if (n > 3) p[3] = a.d;
  if (n > 4) p[4] = a.e;
  if (n > 5) p[5] = a.f;
  if (n > 6) p[6] = a.g;
  if (n > 7) p[7] = a.h;
}

RC_INLINE rc_h8 rc_h8_load(const int16_t *p) { return rc_h8_load_lanes(p, 8); }
RC_INLINE void rc_h8_store(int16_t *p, rc_h8 a) { rc_h8_store_lanes(p, a, 8); }
RC_INLINE rc_h8 rc_h8_splat(int16_t a) { return rc_h8_of(a, a, a, a, a, a, a, a); }
RC_INLINE rc_h8 rc_h8_pair(const int16_t *p) { return rc_h8_of(p[0], p[1], p[0], p[1], p[0], p[1], p[0], p[1]); }
RC_INLINE rc_h8 rc_h8_widen(const int8_t *p) { return rc_h8_of(p[0], p[1], p[2], p[3], p[4], p[5], p[6], p[7]); }
RC_INLINE rc_h8 rc_h8_add(rc_h8 a, rc_h8 b) {
  return rc_h8_of(a.a + b.a, a.b + b.b, a.c + b.c, a.d + b.d, a.e + b.e, a.f + b.f, a.g + b.g, a.h + b.h);
}
RC_INLINE rc_h8 rc_h8_sub(rc_h8 a, rc_h8 b) {
  return rc_h8_of(a.a - b.a, a.b - b.b, a.c - b.c, a.d - b.d, a.e - b.e, a.f - b.f, a.g - b.g, a.h - b.h);
}
RC_INLINE int rc_higher(int a, int b) { return a < b ? b : a; }
RC_INLINE rc_h8 rc_h8_max(rc_h8 a, rc_h8 b) {
  return rc_h8_of(rc_higher(a.a, b.a), rc_higher(a.b, b.b), rc_higher(a.c, b.c), rc_higher(a.d, b.d),
                  rc_higher(a.e, b.e), rc_higher(a.f, b.f), rc_higher(a.g, b.g), rc_higher(a.h, b.h));
}
/* what is narrowed has been clipped to the range of a quantized value */
RC_INLINE rc_h8 rc_h8_narrow(rc_i4 low, rc_i4 high) {
  return rc_h8_of(low.x, low.y, low.z, low.w, high.x, high.y, high.z, high.w);
}
RC_INLINE rc_i4 rc_h8_low(rc_h8 a) { return rc_i4_of(a.a, a.b, a.c, a.d); }
RC_INLINE rc_i4 rc_h8_high(rc_h8 a) { return rc_i4_of(a.e, a.f, a.g, a.h); }
RC_INLINE rc_h8 rc_h8_zip_low(rc_h8 a, rc_h8 b) { return rc_h8_of(a.a, b.a, a.b, b.b, a.c, b.c, a.d, b.d); }
RC_INLINE rc_h8 rc_h8_zip_high(rc_h8 a, rc_h8 b) { return rc_h8_of(a.e, b.e, a.f, b.f, a.g, b.g, a.h, b.h); }

RC_INLINE rc_i4 rc_i4_load(const int32_t *p) { return rc_i4_of(p[0], p[1], p[2], p[3]); }
RC_INLINE void rc_i4_store(int32_t *p, rc_i4 a) {
  p[0] = a.x;
  p[1] = a.y;
  p[2] = a.z;
  p[3] = a.w;
}
RC_INLINE rc_i4 rc_i4_splat(int32_t a) { return rc_i4_of(a, a, a, a); }
RC_INLINE rc_i4 rc_i4_add(rc_i4 a, rc_i4 b) { return rc_i4_of(a.x + b.x, a.y + b.y, a.z + b.z, a.w + b.w); }
RC_INLINE rc_i4 rc_i4_sub(rc_i4 a, rc_i4 b) { return rc_i4_of(a.x - b.x, a.y - b.y, a.z - b.z, a.w - b.w); }
/* of multiples of 4 */
RC_INLINE rc_i4 rc_i4_quarter(rc_i4 a) { return rc_i4_of(a.x / 4, a.y / 4, a.z / 4, a.w / 4); }
RC_INLINE rc_i4 rc_i4_dot(rc_i4 sum, rc_h8 a, rc_h8 b) {
  return rc_i4_of(sum.x + a.a * b.a + a.b * b.b, sum.y + a.c * b.c + a.d * b.d, sum.z + a.e * b.e + a.f * b.f,
                  sum.w + a.g * b.g + a.h * b.h);
}
RC_INLINE rc_v4 rc_i4_to_float(rc_i4 a) { return rc_v4_of((float)a.x, (float)a.y, (float)a.z, (float)a.w); }

RC_INLINE int32_t rc_rounded(float a) {
  const float shifted = a + RC_ROUNDING;
  return (int32_t)(shifted - RC_ROUNDING);
}
RC_INLINE rc_i4 rc_i4_round(rc_v4 a) {
  return rc_i4_of(rc_rounded(a.x), rc_rounded(a.y), rc_rounded(a.z), rc_rounded(a.w));
}
#endif

#endif
