/* Pooling of quantized activations, 8 channels at a time. The maximum of quantized values is the quantized maximum. An
   average is rounded once: `scale` is input scale / output scale, and the count divides in float. */
#ifndef INT8_POOLING_H
#define INT8_POOLING_H

#include "pooling.h"
#include "requantize.h"

INLINE void int8_pool_window(const pool_shape s, const int kind, const int lanes, int8_source in, const int y,
                             const int x, const float scale, const float low_bound, const float high_bound,
                             int16_t *out) {
  const int top = y * s.stride_y - s.y0, left = x * s.stride_x - s.x0;
  h8 largest = h8_splat(0);
  i4 low = i4_splat(0), high = i4_splat(0);
  int count = 0;
  for (int i = 0; i < s.kh; ++i) {
    const int row = top + i * s.dilation_y;
    if (row < 0 || row >= s.ih) continue;
    for (int j = 0; j < s.kw; ++j) {
      const int column = left + j * s.dilation_x;
      if (column < 0 || column >= s.iw) continue;
      const h8 value = h8_load_lanes(in.at + row * in.row + column * in.px, lanes);
      if (kind == MAX_POOL) {
        largest = count == 0 ? value : h8_max(largest, value);
      } else {
        low = i4_add(low, h8_low(value));
        if (lanes > 4) high = i4_add(high, h8_high(value));
      }
      ++count;
    }
  }
  if (kind != MAX_POOL) {
    const v4 factor = v4_splat(scale / (float)(kind == AVERAGE_OF_WINDOW ? s.kh * s.kw : count));
    low = clipped(v4_mul(i4_to_float(low), factor), low_bound, high_bound);
    if (lanes > 4) high = clipped(v4_mul(i4_to_float(high), factor), low_bound, high_bound);
    largest = h8_narrow(low, high);
  }
  h8_store_lanes(out, largest, lanes);
}

INLINE void int8_pool(const pool_shape s, const int kind, int8_source in, const float scale, const float low,
                      const float high, int8_target out) {
  for (int y = 0; y < s.oh; ++y) {
    for (int x = 0; x < s.ow; ++x) {
      int16_t *o = out.at + y * out.row + x * out.px;
      int c = 0;
      for (; c + 8 <= s.channels; c += 8)
        int8_pool_window(s, kind, 8, int8_source_at(in, 0, 0, c), y, x, scale, low, high, o + c);
      if (s.channels % 8)
        int8_pool_window(s, kind, s.channels % 8, int8_source_at(in, 0, 0, c), y, x, scale, low, high, o + c);
    }
  }
}

#endif
