/* Runs of `n` quantized values: their sum, and from and to float. */
#ifndef INT8_POINTWISE_H
#define INT8_POINTWISE_H

#include "requantize.h"

/* round(x / scale) clipped to low..high, the bounds of q - zero point: a division, as ONNX has it */
INLINE void quantize_lanes(const int lanes, const float *x, const float scale, const float low, const float high,
                           int16_t *q) {
  const v4 step = v4_splat(scale);
  const i4 a = clipped(v4_div(v4_load_lanes(x, lanes), step), low, high);
  const i4 b = lanes > 4 ? clipped(v4_div(v4_load_lanes(x + 4, lanes - 4), step), low, high) : a;
  h8_store_lanes(q, h8_narrow(a, b), lanes);
}

INLINE void quantize(const int n, const float *x, const float scale, const float low, const float high, int16_t *q) {
  int i = 0;
  for (; i + 8 <= n; i += 8) quantize_lanes(8, x + i, scale, low, high, q + i);
  if (n % 8) quantize_lanes(n % 8, x + i, scale, low, high, q + i);
}

INLINE void dequantize_lanes(const int lanes, const int16_t *q, const float scale, float *x) {
  const h8 a = h8_load_lanes(q, lanes);
  v4_store_lanes(x, v4_mul(i4_to_float(h8_low(a)), v4_splat(scale)), lanes < 4 ? lanes : 4);
  if (lanes > 4) v4_store_lanes(x + 4, v4_mul(i4_to_float(h8_high(a)), v4_splat(scale)), lanes - 4);
}

INLINE void dequantize(const int n, const int16_t *q, const float scale, float *x) {
  int i = 0;
  for (; i + 8 <= n; i += 8) dequantize_lanes(8, q + i, scale, x + i);
  if (n % 8) dequantize_lanes(n % 8, q + i, scale, x + i);
}

/* a and b are the inputs' scales over the output's */
INLINE void int8_add_lanes(const int lanes, const int16_t *x, const float a, const int16_t *y, const float b,
                           const float low, const float high, int16_t *sum) {
  const h8 p = h8_load_lanes(x, lanes), q = h8_load_lanes(y, lanes);
  const v4 u = v4_splat(a), v = v4_splat(b);
  const i4 first = clipped(v4_madd(v4_mul(i4_to_float(h8_low(p)), u), i4_to_float(h8_low(q)), v), low, high);
  const i4 second = clipped(v4_madd(v4_mul(i4_to_float(h8_high(p)), u), i4_to_float(h8_high(q)), v), low, high);
  h8_store_lanes(sum, h8_narrow(first, second), lanes);
}

INLINE void int8_add(const int n, const int16_t *x, const float a, const int16_t *y, const float b, const float low,
                     const float high, int16_t *sum) {
  int i = 0;
  for (; i + 8 <= n; i += 8) int8_add_lanes(8, x + i, a, y + i, b, low, high, sum + i);
  if (n % 8) int8_add_lanes(n % 8, x + i, a, y + i, b, low, high, sum + i);
}

#endif
