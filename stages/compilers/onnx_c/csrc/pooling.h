/* Max and average pooling over NHWC, 4 channels at a time. A window is cut at the edge of the image, so that what the
   border of the buffer holds does not matter; `y0`, `x0` are the padding above and to the left. */
#ifndef RC_POOLING_H
#define RC_POOLING_H

#include "activation.h"
#include "view.h"

typedef struct {
  int channels, ih, iw, kh, kw, stride_y, stride_x, dilation_y, dilation_x, y0, x0, oh, ow;
} rc_pool_shape;

enum { RC_MAX_POOL, RC_AVERAGE_OF_IMAGE, RC_AVERAGE_OF_WINDOW };

RC_INLINE void rc_pool_window(const rc_pool_shape s, const int kind, const int lanes, rc_source in, const int y,
                                     const int x, float *out) {
  const int top = y * s.stride_y - s.y0, left = x * s.stride_x - s.x0;
  rc_v4 a = rc_v4_splat(0);
  int count = 0;
  for (int i = 0; i < s.kh; ++i) {
    const int row = top + i * s.dilation_y;
    if (row < 0 || row >= s.ih) continue;
    for (int j = 0; j < s.kw; ++j) {
      const int column = left + j * s.dilation_x;
      if (column < 0 || column >= s.iw) continue;
      const rc_v4 value = rc_v4_load_lanes(in.at + row * in.row + column * in.px, lanes);
      a = count == 0 ? value : kind == RC_MAX_POOL ? rc_v4_max(a, value) : rc_v4_add(a, value);
      ++count;
    }
  }
  if (kind == RC_AVERAGE_OF_WINDOW) count = s.kh * s.kw;
  if (kind != RC_MAX_POOL) a = rc_v4_div(a, rc_v4_splat((float)count));
  rc_v4_store_lanes(out, a, lanes);
}

/* without padding and dilation every window is whole: the loops have no conditions */
RC_INLINE void rc_pool_whole_window(const rc_pool_shape s, const int kind, const int lanes, const float *in,
                                           const int row, const int px, float *out) {
  rc_v4 a = rc_v4_load_lanes(in, lanes);
  for (int i = 0; i < s.kh; ++i) {
    for (int j = i == 0; j < s.kw; ++j) {
      const rc_v4 value = rc_v4_load_lanes(in + i * row + j * px, lanes);
      a = kind == RC_MAX_POOL ? rc_v4_max(a, value) : rc_v4_add(a, value);
    }
  }
  if (kind != RC_MAX_POOL) a = rc_v4_div(a, rc_v4_splat((float)(s.kh * s.kw)));
  rc_v4_store_lanes(out, a, lanes);
}

RC_INLINE void rc_pool(const rc_pool_shape s, const int kind, rc_source in, rc_target out) {
  const int whole = s.y0 == 0 && s.x0 == 0 && s.dilation_y == 1 && s.dilation_x == 1 &&
                    (s.oh - 1) * s.stride_y + s.kh <= s.ih && (s.ow - 1) * s.stride_x + s.kw <= s.iw;
  for (int y = 0; y < s.oh; ++y) {
    for (int x = 0; x < s.ow; ++x) {
      const rc_source window = whole ? rc_source_at(in, y * s.stride_y, x * s.stride_x, 0) : in;
      float *o = out.at + y * out.row + x * out.px;
      int c = 0;
      for (; c + 4 <= s.channels; c += 4) {
        if (whole) {
          rc_pool_whole_window(s, kind, 4, window.at + c, in.row, in.px, o + c);
        } else {
          rc_pool_window(s, kind, 4, rc_source_at(in, 0, 0, c), y, x, o + c);
        }
      }
      if (s.channels % 4) {
        if (whole) {
          rc_pool_whole_window(s, kind, s.channels % 4, window.at + c, in.row, in.px, o + c);
        } else {
          rc_pool_window(s, kind, s.channels % 4, rc_source_at(in, 0, 0, c), y, x, o + c);
        }
      }
    }
  }
}

#endif
