/* Depthwise convolution: one kernel per channel. 4 pixels by 4 channels at a time; weights lie as [kh][kw][channels],
   weights and bias filled up with zeros to a multiple of 4 channels. */
#ifndef RC_DEPTHWISE_CONV_H
#define RC_DEPTHWISE_CONV_H

#include "direct_conv.h"

RC_INLINE void rc_depthwise_tile(const rc_conv_shape s, const int px, const int lanes, rc_source in,
                                        const float *w, const float *b, rc_source res, const rc_activation f,
                                        rc_target out) {
  const int width = (s.oc + 3) / 4 * 4;
  rc_v4 sum[4];
  RC_UNROLL
  for (int i = 0; i < px; ++i) sum[i] = rc_v4_load(b);
  for (int y = 0; y < s.kh; ++y) {
    const float *at = in.at + y * s.dilation_y * in.row;
    RC_UNROLL
    for (int x = 0; x < s.kw; ++x, w += width) {
      const rc_v4 tap = rc_v4_load(w);
      RC_UNROLL
      for (int i = 0; i < px; ++i)
        sum[i] = rc_v4_madd(sum[i], rc_v4_load_lanes(at + (i * s.stride_x + x * s.dilation_x) * in.px, lanes), tap);
    }
  }
  RC_UNROLL
  for (int i = 0; i < px; ++i) {
    if (res.at) sum[i] = rc_v4_add(sum[i], rc_v4_load_lanes(res.at + i * res.px, lanes));
    rc_v4_store_lanes(out.at + i * out.px, rc_activate(sum[i], f), lanes);
  }
}

RC_INLINE void rc_depthwise_channels(const rc_conv_shape s, const int lanes, rc_source in, const float *w,
                                            const float *b, rc_source res, const rc_activation f, rc_target out) {
  for (int y = 0; y < s.oh; ++y) {
    const rc_source row = rc_source_at(in, y * s.stride_y, 0, 0);
    int x = 0;
    for (; x + 4 <= s.ow; x += 4)
      rc_depthwise_tile(s, 4, lanes, rc_source_at(row, 0, x * s.stride_x, 0), w, b, rc_source_at(res, y, x, 0), f,
                        rc_target_at(out, y, x, 0));
    if (s.ow % 4)
      rc_depthwise_tile(s, s.ow % 4, lanes, rc_source_at(row, 0, x * s.stride_x, 0), w, b, rc_source_at(res, y, x, 0),
                        f, rc_target_at(out, y, x, 0));
  }
}

RC_INLINE void rc_depthwise_conv(const rc_conv_shape s, rc_source in, const float *w, const float *b,
                                        rc_source res, const rc_activation f, rc_target out) {
  int c = 0;
  for (; c + 4 <= s.oc; c += 4)
    rc_depthwise_channels(s, 4, rc_source_at(in, 0, 0, c), w + c, b + c, rc_source_at(res, 0, 0, c), f,
                          rc_target_at(out, 0, 0, c));
  if (s.oc % 4)
    rc_depthwise_channels(s, s.oc % 4, rc_source_at(in, 0, 0, c), w + c, b + c, rc_source_at(res, 0, 0, c), f,
                          rc_target_at(out, 0, 0, c));
}

#endif
