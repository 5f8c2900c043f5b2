/* Quantized depthwise convolution, 8 channels at a time, two taps by one instruction: weights lie as
   [channels / 8][pairs of taps][8][2], taps in the order of the kernel's rows, filled up with zeros. */
#ifndef RC_INT8_DEPTHWISE_CONV_H
#define RC_INT8_DEPTHWISE_CONV_H

#include "direct_conv.h"
#include "requantize.h"

RC_INLINE rc_h8 rc_int8_tap(const rc_conv_shape s, const int lanes, rc_int8_source in, const int tap) {
  return rc_h8_load_lanes(in.at + tap / s.kw * s.dilation_y * in.row + tap % s.kw * s.dilation_x * in.px, lanes);
}

RC_INLINE void rc_int8_depthwise_pixel(const rc_conv_shape s, const int lanes, const int c, rc_int8_source in,
                                              const int8_t *w, const int32_t *b, const int16_t *residual,
                                              const rc_requantization r, int16_t *out) {
  const int taps = s.kh * s.kw;
  rc_i4 low = rc_i4_load(b + c), high = lanes > 4 ? rc_i4_load(b + c + 4) : low;
  RC_UNROLL
  for (int tap = 0; tap < taps; tap += 2, w += 16) {
    const rc_h8 first = rc_int8_tap(s, lanes, in, tap);
    const rc_h8 second = tap + 1 < taps ? rc_int8_tap(s, lanes, in, tap + 1) : rc_h8_splat(0);
    low = rc_i4_dot(low, rc_h8_zip_low(first, second), rc_h8_widen(w));
    if (lanes > 4) high = rc_i4_dot(high, rc_h8_zip_high(first, second), rc_h8_widen(w + 8));
  }
  rc_requantize(low, high, lanes, c, r, residual, out);
}

RC_INLINE void rc_int8_depthwise_channels(const rc_conv_shape s, const int lanes, const int c, rc_int8_source in,
                                                 const int8_t *w, const int32_t *b, rc_int8_source res,
                                                 const rc_requantization r, rc_int8_target out) {
  for (int y = 0; y < s.oh; ++y)
    for (int x = 0; x < s.ow; ++x)
      rc_int8_depthwise_pixel(s, lanes, c, rc_int8_source_at(in, y * s.stride_y, x * s.stride_x, c), w, b,
                              rc_int8_source_at(res, y, x, c).at, r, rc_int8_target_at(out, y, x, c).at);
}

RC_INLINE void rc_int8_depthwise_conv(const rc_conv_shape s, rc_int8_source in, const int8_t *w,
                                             const int32_t *b, rc_int8_source res, const rc_requantization r,
                                             rc_int8_target out) {
  const int block = (s.kh * s.kw + 1) / 2 * 16;
  int c = 0;
  for (; c + 8 <= s.oc; c += 8, w += block) rc_int8_depthwise_channels(s, 8, c, in, w, b, res, r, out);
  if (s.oc % 8) rc_int8_depthwise_channels(s, s.oc % 8, c, in, w, b, res, r, out);
}

#endif
