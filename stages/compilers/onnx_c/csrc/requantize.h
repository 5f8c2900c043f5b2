/* From int32 sums to quantized values, as onnxruntime does it: times a float scale, clipped, rounded half to even.
   The residual of a following quantized Add is added in the same pass, with that Add's own rounding. */
#ifndef RC_REQUANTIZE_H
#define RC_REQUANTIZE_H

#include "integer_vector.h"

typedef struct {
  const int16_t *at;
  int row, px;
} rc_int8_source;

typedef struct {
  int16_t *at;
  int row, px;
} rc_int8_target;

RC_INLINE rc_int8_source rc_int8_source_at(rc_int8_source s, int y, int x, int channel) {
  if (s.at) s.at += y * s.row + x * s.px + channel;
  return s;
}

RC_INLINE rc_int8_target rc_int8_target_at(rc_int8_target t, int y, int x, int channel) {
  t.at += y * t.row + x * t.px + channel;
  return t;
}

/* `scale`: per output channel, input scale * weight scale / output scale. low, high: bounds of q - zero point. With a
   residual, the value is then own * value + other * residual, clipped to sum_low..sum_high. */
typedef struct {
  const float *scale;
  float low, high, own, other, sum_low, sum_high;
} rc_requantization;

RC_INLINE rc_i4 rc_clipped(rc_v4 a, const float low, const float high) {
  return rc_i4_round(rc_v4_min(rc_v4_max(a, rc_v4_splat(low)), rc_v4_splat(high)));
}

/* 8 output channels, of which `lanes` are stored */
RC_INLINE void rc_requantize(rc_i4 low, rc_i4 high, const int lanes, const int c, const rc_requantization r,
                                    const int16_t *residual, int16_t *out) {
  low = rc_clipped(rc_v4_mul(rc_i4_to_float(low), rc_v4_load(r.scale + c)), r.low, r.high);
  if (lanes > 4) high = rc_clipped(rc_v4_mul(rc_i4_to_float(high), rc_v4_load(r.scale + c + 4)), r.low, r.high);
  if (residual) {
    const rc_h8 other = rc_h8_load_lanes(residual, lanes);
    const rc_v4 own = rc_v4_splat(r.own), factor = rc_v4_splat(r.other);
    low = rc_clipped(rc_v4_madd(rc_v4_mul(rc_i4_to_float(low), own), rc_i4_to_float(rc_h8_low(other)), factor),
                     r.sum_low, r.sum_high);
    if (lanes > 4)
      high = rc_clipped(rc_v4_madd(rc_v4_mul(rc_i4_to_float(high), own), rc_i4_to_float(rc_h8_high(other)), factor),
                        r.sum_low, r.sum_high);
  }
  rc_h8_store_lanes(out, rc_h8_narrow(low, lanes > 4 ? high : low), lanes);
}

#endif
