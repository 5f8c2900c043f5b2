/* Quantized direct convolution: int16 activations (see `integer_vector.h`), int8 weights, two products at a time.
   Weights lie as [oc / 8][kh][runs][pairs][8][2], a run being what is contiguous in the input: a kernel row (kw * ic
   values) without dilation, else one tap (ic values); filled up with zeros, a last block of 4 or fewer is 4 wide.
   Where a run's length is odd, one value after it is read and multiplied by 0. */
#ifndef RC_INT8_CONV_H
#define RC_INT8_CONV_H

#include "direct_conv.h"
#include "requantize.h"

RC_INLINE void rc_int8_conv_tile(const rc_conv_shape s, const int px, const int lanes, const int c,
                                        rc_int8_source in, const int8_t *w, const int32_t *b, rc_int8_source res,
                                        const rc_requantization r, rc_int8_target out) {
  const int two = lanes > 4, width = two ? 16 : 8, step = s.stride_x * in.px;
  const int flat = s.dilation_x == 1 && in.px == s.ic;
  const int runs = flat ? 1 : s.kw, length = flat ? s.kw * s.ic : s.ic;
  rc_i4 sum[4][2];
  RC_UNROLL
  for (int i = 0; i < px; ++i) {
    sum[i][0] = rc_i4_load(b + c);
    sum[i][1] = two ? rc_i4_load(b + c + 4) : sum[i][0];
  }
  for (int y = 0; y < s.kh; ++y) {
    for (int x = 0; x < runs; ++x) {
      const int16_t *at = in.at + y * s.dilation_y * in.row + x * s.dilation_x * in.px;
      RC_UNROLL_BY_2
      for (int k = 0; k < length; k += 2, w += width) {
        const rc_h8 w0 = rc_h8_widen(w), w1 = two ? rc_h8_widen(w + 8) : w0;
        RC_UNROLL
        for (int i = 0; i < px; ++i) {
          const rc_h8 a = rc_h8_pair(at + i * step + k);
          sum[i][0] = rc_i4_dot(sum[i][0], w0, a);
          if (two) sum[i][1] = rc_i4_dot(sum[i][1], w1, a);
        }
      }
    }
  }
  RC_UNROLL
  for (int i = 0; i < px; ++i)
    rc_requantize(sum[i][0], sum[i][1], lanes, c, r, res.at ? res.at + i * res.px : 0, out.at + i * out.px);
}

RC_INLINE void rc_int8_conv_channels(const rc_conv_shape s, const int lanes, const int c, rc_int8_source in,
                                            const int8_t *w, const int32_t *b, rc_int8_source res,
                                            const rc_requantization r, rc_int8_target out) {
  for (int y = 0; y < s.oh; ++y) {
    const rc_int8_source row = rc_int8_source_at(in, y * s.stride_y, 0, 0);
    int x = 0;
    for (; x + 4 <= s.ow; x += 4)
      rc_int8_conv_tile(s, 4, lanes, c, rc_int8_source_at(row, 0, x * s.stride_x, 0), w, b,
                        rc_int8_source_at(res, y, x, c), r, rc_int8_target_at(out, y, x, c));
    if (s.ow % 4)
      rc_int8_conv_tile(s, s.ow % 4, lanes, c, rc_int8_source_at(row, 0, x * s.stride_x, 0), w, b,
                        rc_int8_source_at(res, y, x, c), r, rc_int8_target_at(out, y, x, c));
  }
}

RC_INLINE void rc_int8_conv(const rc_conv_shape s, rc_int8_source in, const int8_t *w, const int32_t *b,
                                   rc_int8_source res, const rc_requantization r, rc_int8_target out) {
  const int flat = s.dilation_x == 1 && in.px == s.ic;
  const int taps = s.kh * (flat ? (s.kw * s.ic + 1) / 2 * 2 : s.kw * ((s.ic + 1) / 2 * 2));
  int c = 0;
  for (; c + 8 <= s.oc; c += 8) rc_int8_conv_channels(s, 8, c, in, w + c * taps, b, res, r, out);
  if (s.oc % 8) rc_int8_conv_channels(s, s.oc % 8, c, in, w + c * taps, b, res, r, out);
}

#endif
