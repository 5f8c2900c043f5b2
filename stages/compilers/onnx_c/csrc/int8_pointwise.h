/* Runs of `n` quantized values: their sum, and from and to float. */
#ifndef RC_INT8_POINTWISE_H
#define RC_INT8_POINTWISE_H

#include "requantize.h"

/* round(x / scale) clipped to low..high, the bounds of q - zero point: a division, as ONNX has it */
RC_INLINE void rc_quantize_lanes(const int lanes, const float *x, const float scale, const float low,
                                        const float high, int16_t *q) {
  const rc_v4 step = rc_v4_splat(scale);
  const rc_i4 a = rc_clipped(rc_v4_div(rc_v4_load_lanes(x, lanes), step), low, high);
  const rc_i4 b = lanes > 4 ? rc_clipped(rc_v4_div(rc_v4_load_lanes(x + 4, lanes - 4), step), low, high) : a;
  rc_h8_store_lanes(q, rc_h8_narrow(a, b), lanes);
}

RC_INLINE void rc_quantize(const int n, const float *x, const float scale, const float low, const float high,
                                  int16_t *q) {
  int i = 0;
  for (; i + 8 <= n; i += 8) rc_quantize_lanes(8, x + i, scale, low, high, q + i);
  if (n % 8) rc_quantize_lanes(n % 8, x + i, scale, low, high, q + i);
}

RC_INLINE void rc_dequantize_lanes(const int lanes, const int16_t *q, const float scale, float *x) {
  const rc_h8 a = rc_h8_load_lanes(q, lanes);
  rc_v4_store_lanes(x, rc_v4_mul(rc_i4_to_float(rc_h8_low(a)), rc_v4_splat(scale)), lanes < 4 ? lanes : 4);
  if (lanes > 4) rc_v4_store_lanes(x + 4, rc_v4_mul(rc_i4_to_float(rc_h8_high(a)), rc_v4_splat(scale)), lanes - 4);
}

RC_INLINE void rc_dequantize(const int n, const int16_t *q, const float scale, float *x) {
  int i = 0;
  for (; i + 8 <= n; i += 8) rc_dequantize_lanes(8, q + i, scale, x + i);
  if (n % 8) rc_dequantize_lanes(n % 8, q + i, scale, x + i);
}

/* a and b are the inputs' scales over the output's */
RC_INLINE void rc_int8_add_lanes(const int lanes, const int16_t *x, const float a, const int16_t *y,
                                        const float b, const float low, const float high, int16_t *sum) {
  const rc_h8 p = rc_h8_load_lanes(x, lanes), q = rc_h8_load_lanes(y, lanes);
  const rc_v4 u = rc_v4_splat(a), v = rc_v4_splat(b);
  const rc_i4 first =
      rc_clipped(rc_v4_madd(rc_v4_mul(rc_i4_to_float(rc_h8_low(p)), u), rc_i4_to_float(rc_h8_low(q)), v), low, high);
  const rc_i4 second =
      rc_clipped(rc_v4_madd(rc_v4_mul(rc_i4_to_float(rc_h8_high(p)), u), rc_i4_to_float(rc_h8_high(q)), v), low, high);
  rc_h8_store_lanes(sum, rc_h8_narrow(first, second), lanes);
}

RC_INLINE void rc_int8_add(const int n, const int16_t *x, const float a, const int16_t *y, const float b,
                                  const float low, const float high, int16_t *sum) {
  int i = 0;
  for (; i + 8 <= n; i += 8) rc_int8_add_lanes(8, x + i, a, y + i, b, low, high, sum + i);
  if (n % 8) rc_int8_add_lanes(n % 8, x + i, a, y + i, b, low, high, sum + i);
}

#endif
