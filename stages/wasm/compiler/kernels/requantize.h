/* From int32 sums to quantized values, as onnxruntime does it: times a float scale, clipped, rounded half to even.
   The residual of a following quantized Add is added in the same pass, with that Add's own rounding. */
#ifndef REQUANTIZE_H
#define REQUANTIZE_H

#include "integer_vector.h"

typedef struct {
  const int16_t *at;
  int row, px;
} int8_source;

typedef struct {
  int16_t *at;
  int row, px;
} int8_target;

INLINE int8_source int8_source_at(int8_source s, int y, int x, int channel) {
  if (s.at) s.at += y * s.row + x * s.px + channel;
  return s;
}

INLINE int8_target int8_target_at(int8_target t, int y, int x, int channel) {
  t.at += y * t.row + x * t.px + channel;
  return t;
}

/* `scale`: per output channel, input scale * weight scale / output scale. low, high: bounds of q - zero point. With a
   residual, the value is then own * value + other * residual, clipped to sum_low..sum_high. */
typedef struct {
  const float *scale;
  float low, high, own, other, sum_low, sum_high;
} requantization;

INLINE i4 clipped(v4 a, const float low, const float high) {
  return i4_round(v4_min(v4_max(a, v4_splat(low)), v4_splat(high)));
}

/* 8 output channels, of which `lanes` are stored */
INLINE void requantize(i4 low, i4 high, const int lanes, const int c, const requantization r, const int16_t *residual,
                       int16_t *out) {
  low = clipped(v4_mul(i4_to_float(low), v4_load(r.scale + c)), r.low, r.high);
  if (lanes > 4) high = clipped(v4_mul(i4_to_float(high), v4_load(r.scale + c + 4)), r.low, r.high);
  if (residual) {
    const h8 other = h8_load_lanes(residual, lanes);
    const v4 own = v4_splat(r.own), factor = v4_splat(r.other);
    low = clipped(v4_madd(v4_mul(i4_to_float(low), own), i4_to_float(h8_low(other)), factor), r.sum_low, r.sum_high);
    if (lanes > 4)
      high = clipped(v4_madd(v4_mul(i4_to_float(high), own), i4_to_float(h8_high(other)), factor), r.sum_low,
                     r.sum_high);
  }
  h8_store_lanes(out, h8_narrow(low, lanes > 4 ? high : low), lanes);
}

#endif
