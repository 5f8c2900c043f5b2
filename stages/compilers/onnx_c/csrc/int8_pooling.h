/* Pooling of quantized activations, 8 channels at a time. The maximum of quantized values is the quantized maximum. An
   average is rounded once: `scale` is input scale / output scale, and the count divides in float. */
#ifndef RC_INT8_POOLING_H
#define RC_INT8_POOLING_H

#include "pooling.h"
#include "requantize.h"

RC_INLINE void rc_int8_pool_window(const rc_pool_shape s, const int kind, const int lanes, rc_int8_source in,
                                          const int y, const int x, const float scale, const float low_bound,
                                          const float high_bound, int16_t *out) {
  const int top = y * s.stride_y - s.y0, left = x * s.stride_x - s.x0;
  rc_h8 largest = rc_h8_splat(0);
  rc_i4 low = rc_i4_splat(0), high = rc_i4_splat(0);
  int count = 0;
  for (int i = 0; i < s.kh; ++i) {
    const int row = top + i * s.dilation_y;
    if (row < 0 || row >= s.ih) continue;
    for (int j = 0; j < s.kw; ++j) {
      const int column = left + j * s.dilation_x;
      if (column < 0 || column >= s.iw) continue;
      const rc_h8 value = rc_h8_load_lanes(in.at + row * in.row + column * in.px, lanes);
      if (kind == RC_MAX_POOL) {
        largest = count == 0 ? value : rc_h8_max(largest, value);
      } else {
        low = rc_i4_add(low, rc_h8_low(value));
        if (lanes > 4) high = rc_i4_add(high, rc_h8_high(value));
      }
      ++count;
    }
  }
  if (kind != RC_MAX_POOL) {
    const rc_v4 factor = rc_v4_splat(scale / (float)(kind == RC_AVERAGE_OF_WINDOW ? s.kh * s.kw : count));
    low = rc_clipped(rc_v4_mul(rc_i4_to_float(low), factor), low_bound, high_bound);
    if (lanes > 4) high = rc_clipped(rc_v4_mul(rc_i4_to_float(high), factor), low_bound, high_bound);
    largest = rc_h8_narrow(low, high);
  }
  rc_h8_store_lanes(out, largest, lanes);
}

RC_INLINE void rc_int8_pool(const rc_pool_shape s, const int kind, rc_int8_source in, const float scale,
                                   const float low, const float high, rc_int8_target out) {
  for (int y = 0; y < s.oh; ++y) {
    for (int x = 0; x < s.ow; ++x) {
      int16_t *o = out.at + y * out.row + x * out.px;
      int c = 0;
      for (; c + 8 <= s.channels; c += 8)
        rc_int8_pool_window(s, kind, 8, rc_int8_source_at(in, 0, 0, c), y, x, scale, low, high, o + c);
      if (s.channels % 8)
        rc_int8_pool_window(s, kind, s.channels % 8, rc_int8_source_at(in, 0, 0, c), y, x, scale, low, high, o + c);
    }
  }
}

#endif
