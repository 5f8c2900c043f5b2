/* Direct convolution: tiles of 4 pixels by 8 output channels kept in registers, one kernel tap after the other.
   Weights lie as [oc / 8][kh][kw][ic][8]; a last block of 4 or fewer channels is 4 wide. Weights and bias are filled
   up with zeros. A 1x1 convolution and a product of matrices are the same loop. */
#ifndef RC_DIRECT_CONV_H
#define RC_DIRECT_CONV_H

#include "activation.h"
#include "view.h"

typedef struct {
  int ic, oc, kh, kw, stride_y, stride_x, dilation_y, dilation_x, oh, ow;
} rc_conv_shape;

RC_INLINE void rc_conv_tile(const rc_conv_shape s, const int px, const int lanes, rc_source in, const float *w,
                                   const float *b, rc_source res, const rc_activation f, rc_target out) {
  const int two = lanes > 4, width = two ? 8 : 4, step = s.stride_x * in.px;
  /* then the taps of one kernel row follow each other in the input */
  const int flat = s.dilation_x == 1 && in.px == s.ic;
  const int taps = flat ? 1 : s.kw, length = flat ? s.kw * s.ic : s.ic;
  rc_v4 sum[4][2];
  RC_UNROLL
  for (int i = 0; i < px; ++i) {
    sum[i][0] = rc_v4_load(b);
    if (two) sum[i][1] = rc_v4_load(b + 4);
  }
  for (int y = 0; y < s.kh; ++y) {
    for (int x = 0; x < taps; ++x) {
      const float *at = in.at + y * s.dilation_y * in.row + x * s.dilation_x * in.px;
      RC_UNROLL_BY_2
      for (int k = 0; k < length; ++k, w += width) {
        const rc_v4 w0 = rc_v4_load(w), w1 = two ? rc_v4_load(w + 4) : w0;
        RC_UNROLL
        for (int i = 0; i < px; ++i) {
          const rc_v4 a = rc_v4_splat(at[i * step + k]);
          sum[i][0] = rc_v4_madd(sum[i][0], w0, a);
          if (two) sum[i][1] = rc_v4_madd(sum[i][1], w1, a);
        }
      }
    }
  }
  RC_UNROLL
  for (int i = 0; i < px; ++i) {
    const float *r = res.at ? res.at + i * res.px : 0;
    if (r) sum[i][0] = rc_v4_add(sum[i][0], rc_v4_load_lanes(r, lanes));
    if (r && two) sum[i][1] = rc_v4_add(sum[i][1], rc_v4_load_lanes(r + 4, lanes - 4));
    rc_v4_store_lanes(out.at + i * out.px, rc_activate(sum[i][0], f), lanes);
    if (two) rc_v4_store_lanes(out.at + i * out.px + 4, rc_activate(sum[i][1], f), lanes - 4);
  }
}

RC_INLINE void rc_conv_channels(const rc_conv_shape s, const int lanes, rc_source in, const float *w,
                                       const float *b, rc_source res, const rc_activation f, rc_target out) {
  for (int y = 0; y < s.oh; ++y) {
    const rc_source row = rc_source_at(in, y * s.stride_y, 0, 0);
    int x = 0;
    for (; x + 4 <= s.ow; x += 4)
      rc_conv_tile(s, 4, lanes, rc_source_at(row, 0, x * s.stride_x, 0), w, b, rc_source_at(res, y, x, 0), f,
                   rc_target_at(out, y, x, 0));
    if (s.ow % 4)
      rc_conv_tile(s, s.ow % 4, lanes, rc_source_at(row, 0, x * s.stride_x, 0), w, b, rc_source_at(res, y, x, 0), f,
                   rc_target_at(out, y, x, 0));
  }
}

RC_INLINE void rc_direct_conv(const rc_conv_shape s, rc_source in, const float *w, const float *b, rc_source res,
                                     const rc_activation f, rc_target out) {
  const int taps = s.kh * s.kw * s.ic;
  int c = 0;
  for (; c + 8 <= s.oc; c += 8)
    rc_conv_channels(s, 8, in, w + c * taps, b + c, rc_source_at(res, 0, 0, c), f, rc_target_at(out, 0, 0, c));
  if (s.oc % 8)
    rc_conv_channels(s, s.oc % 8, in, w + c * taps, b + c, rc_source_at(res, 0, 0, c), f, rc_target_at(out, 0, 0, c));
}

#endif
