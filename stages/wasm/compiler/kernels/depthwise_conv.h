/* Depthwise convolution: one kernel per channel. 4 pixels by 4 channels at a time; weights lie as [kh][kw][channels],
   weights and bias filled up with zeros to a multiple of 4 channels. */
#ifndef DEPTHWISE_CONV_H
#define DEPTHWISE_CONV_H

#include "direct_conv.h"

INLINE void depthwise_tile(const conv_shape s, const int px, const int lanes, source in, const float *w, const float *b,
                           source res, const activation f, target out) {
  const int width = (s.oc + 3) / 4 * 4;
  v4 sum[4];
  UNROLL for (int i = 0; i < px; ++i) sum[i] = v4_load(b);
  for (int y = 0; y < s.kh; ++y) {
    const float *at = in.at + y * s.dilation_y * in.row;
    UNROLL for (int x = 0; x < s.kw; ++x, w += width) {
      const v4 tap = v4_load(w);
      UNROLL for (int i = 0; i < px; ++i)
        sum[i] = v4_madd(sum[i], v4_load_lanes(at + (i * s.stride_x + x * s.dilation_x) * in.px, lanes), tap);
    }
  }
  UNROLL for (int i = 0; i < px; ++i) {
    if (res.at) sum[i] = v4_add(sum[i], v4_load_lanes(res.at + i * res.px, lanes));
    v4_store_lanes(out.at + i * out.px, activate(sum[i], f), lanes);
  }
}

INLINE void depthwise_channels(const conv_shape s, const int lanes, source in, const float *w, const float *b,
                               source res, const activation f, target out) {
  for (int y = 0; y < s.oh; ++y) {
    const source row = source_at(in, y * s.stride_y, 0, 0);
    int x = 0;
    for (; x + 4 <= s.ow; x += 4)
      depthwise_tile(s, 4, lanes, source_at(row, 0, x * s.stride_x, 0), w, b, source_at(res, y, x, 0), f,
                     target_at(out, y, x, 0));
    if (s.ow % 4)
      depthwise_tile(s, s.ow % 4, lanes, source_at(row, 0, x * s.stride_x, 0), w, b, source_at(res, y, x, 0), f,
                     target_at(out, y, x, 0));
  }
}

INLINE void depthwise_conv(const conv_shape s, source in, const float *w, const float *b, source res,
                           const activation f, target out) {
  int c = 0;
  for (; c + 4 <= s.oc; c += 4)
    depthwise_channels(s, 4, source_at(in, 0, 0, c), w + c, b + c, source_at(res, 0, 0, c), f, target_at(out, 0, 0, c));
  if (s.oc % 4)
    depthwise_channels(s, s.oc % 4, source_at(in, 0, 0, c), w + c, b + c, source_at(res, 0, 0, c), f,
                       target_at(out, 0, 0, c));
}

#endif
