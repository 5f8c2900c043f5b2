/* Direct convolution: tiles of 4 pixels by 8 output channels kept in registers, one kernel tap after the other.
   Weights lie as [oc / 8][kh][kw][ic][8]; a last block of 4 or fewer channels is 4 wide. Weights and bias are filled
   up with zeros. A 1x1 convolution and a product of matrices are the same loop. */
#ifndef DIRECT_CONV_H
#define DIRECT_CONV_H

#include "activation.h"
#include "view.h"

typedef struct {
  int ic, oc, kh, kw, stride_y, stride_x, dilation_y, dilation_x, oh, ow;
} conv_shape;

INLINE void conv_tile(const conv_shape s, const int px, const int lanes, source in, const float *w, const float *b,
                      source res, const activation f, target out) {
  const int two = lanes > 4, width = two ? 8 : 4, step = s.stride_x * in.px;
  /* then the taps of one kernel row follow each other in the input */
  const int flat = s.dilation_x == 1 && in.px == s.ic;
  const int taps = flat ? 1 : s.kw, length = flat ? s.kw * s.ic : s.ic;
  v4 sum[4][2];
  UNROLL for (int i = 0; i < px; ++i) {
    sum[i][0] = v4_load(b);
    if (two) sum[i][1] = v4_load(b + 4);
  }
  for (int y = 0; y < s.kh; ++y) {
    for (int x = 0; x < taps; ++x) {
      const float *at = in.at + y * s.dilation_y * in.row + x * s.dilation_x * in.px;
      UNROLL_BY_2 for (int k = 0; k < length; ++k, w += width) {
        const v4 w0 = v4_load(w), w1 = two ? v4_load(w + 4) : w0;
        UNROLL for (int i = 0; i < px; ++i) {
          const v4 a = v4_splat(at[i * step + k]);
          sum[i][0] = v4_madd(sum[i][0], w0, a);
          if (two) sum[i][1] = v4_madd(sum[i][1], w1, a);
        }
      }
    }
  }
  UNROLL for (int i = 0; i < px; ++i) {
    const float *r = res.at ? res.at + i * res.px : 0;
    if (r) sum[i][0] = v4_add(sum[i][0], v4_load_lanes(r, lanes));
    if (r && two) sum[i][1] = v4_add(sum[i][1], v4_load_lanes(r + 4, lanes - 4));
    v4_store_lanes(out.at + i * out.px, activate(sum[i][0], f), lanes);
    if (two) v4_store_lanes(out.at + i * out.px + 4, activate(sum[i][1], f), lanes - 4);
  }
}

INLINE void conv_channels(const conv_shape s, const int lanes, source in, const float *w, const float *b, source res,
                          const activation f, target out) {
  for (int y = 0; y < s.oh; ++y) {
    const source row = source_at(in, y * s.stride_y, 0, 0);
    int x = 0;
    for (; x + 4 <= s.ow; x += 4)
      conv_tile(s, 4, lanes, source_at(row, 0, x * s.stride_x, 0), w, b, source_at(res, y, x, 0), f,
                target_at(out, y, x, 0));
    if (s.ow % 4)
      conv_tile(s, s.ow % 4, lanes, source_at(row, 0, x * s.stride_x, 0), w, b, source_at(res, y, x, 0), f,
                target_at(out, y, x, 0));
  }
}

INLINE void direct_conv(const conv_shape s, source in, const float *w, const float *b, source res, const activation f,
                        target out) {
  const int taps = s.kh * s.kw * s.ic;
  int c = 0;
  for (; c + 8 <= s.oc; c += 8)
    conv_channels(s, 8, in, w + c * taps, b + c, source_at(res, 0, 0, c), f, target_at(out, 0, 0, c));
  if (s.oc % 8)
    conv_channels(s, s.oc % 8, in, w + c * taps, b + c, source_at(res, 0, 0, c), f, target_at(out, 0, 0, c));
}

#endif
