/* Quantized depthwise convolution, 8 channels at a time, two taps by one instruction: weights lie as
   [channels / 8][pairs of taps][8][2], taps in the order of the kernel's rows, filled up with zeros. */
#ifndef INT8_DEPTHWISE_CONV_H
#define INT8_DEPTHWISE_CONV_H

#include "direct_conv.h"
#include "requantize.h"

INLINE h8 int8_tap(const conv_shape s, const int lanes, int8_source in, const int tap) {
  return h8_load_lanes(in.at + tap / s.kw * s.dilation_y * in.row + tap % s.kw * s.dilation_x * in.px, lanes);
}

INLINE void int8_depthwise_pixel(const conv_shape s, const int lanes, const int c, int8_source in, const int8_t *w,
                                 const int32_t *b, const int16_t *residual, const requantization r, int16_t *out) {
  const int taps = s.kh * s.kw;
  i4 low = i4_load(b + c), high = lanes > 4 ? i4_load(b + c + 4) : low;
  UNROLL for (int tap = 0; tap < taps; tap += 2, w += 16) {
    const h8 first = int8_tap(s, lanes, in, tap);
    const h8 second = tap + 1 < taps ? int8_tap(s, lanes, in, tap + 1) : h8_splat(0);
    low = i4_dot(low, h8_zip_low(first, second), h8_widen(w));
    if (lanes > 4) high = i4_dot(high, h8_zip_high(first, second), h8_widen(w + 8));
  }
  requantize(low, high, lanes, c, r, residual, out);
}

INLINE void int8_depthwise_channels(const conv_shape s, const int lanes, const int c, int8_source in, const int8_t *w,
                                    const int32_t *b, int8_source res, const requantization r, int8_target out) {
  for (int y = 0; y < s.oh; ++y)
    for (int x = 0; x < s.ow; ++x)
      int8_depthwise_pixel(s, lanes, c, int8_source_at(in, y * s.stride_y, x * s.stride_x, c), w, b,
                           int8_source_at(res, y, x, c).at, r, int8_target_at(out, y, x, c).at);
}

INLINE void int8_depthwise_conv(const conv_shape s, int8_source in, const int8_t *w, const int32_t *b, int8_source res,
                                const requantization r, int8_target out) {
  const int block = (s.kh * s.kw + 1) / 2 * 16;
  int c = 0;
  for (; c + 8 <= s.oc; c += 8, w += block) int8_depthwise_channels(s, 8, c, in, w, b, res, r, out);
  if (s.oc % 8) int8_depthwise_channels(s, s.oc % 8, c, in, w, b, res, r, out);
}

#endif
