/* Max and average pooling over NHWC, 4 channels at a time. A window is cut at the edge of the image, so that what the
   border of the buffer holds does not matter; `y0`, `x0` are the padding above and to the left. */
#ifndef POOLING_H
#define POOLING_H

#include "activation.h"
#include "view.h"

typedef struct {
  int channels, ih, iw, kh, kw, stride_y, stride_x, dilation_y, dilation_x, y0, x0, oh, ow;
} pool_shape;

enum { MAX_POOL, AVERAGE_OF_IMAGE, AVERAGE_OF_WINDOW };

INLINE void pool_window(const pool_shape s, const int kind, const int lanes, source in, const int y, const int x,
                        float *out) {
  const int top = y * s.stride_y - s.y0, left = x * s.stride_x - s.x0;
  v4 a = v4_splat(0);
  int count = 0;
  for (int i = 0; i < s.kh; ++i) {
    const int row = top + i * s.dilation_y;
    if (row < 0 || row >= s.ih) continue;
    for (int j = 0; j < s.kw; ++j) {
      const int column = left + j * s.dilation_x;
      if (column < 0 || column >= s.iw) continue;
      const v4 value = v4_load_lanes(in.at + row * in.row + column * in.px, lanes);
      a = count == 0 ? value : kind == MAX_POOL ? v4_max(a, value) : v4_add(a, value);
      ++count;
    }
  }
  if (kind == AVERAGE_OF_WINDOW) count = s.kh * s.kw;
  if (kind != MAX_POOL) a = v4_div(a, v4_splat((float)count));
  v4_store_lanes(out, a, lanes);
}

/* without padding and dilation every window is whole: the loops have no conditions */
INLINE void pool_whole_window(const pool_shape s, const int kind, const int lanes, const float *in, const int row,
                              const int px, float *out) {
  v4 a = v4_load_lanes(in, lanes);
  for (int i = 0; i < s.kh; ++i) {
    for (int j = i == 0; j < s.kw; ++j) {
      const v4 value = v4_load_lanes(in + i * row + j * px, lanes);
      a = kind == MAX_POOL ? v4_max(a, value) : v4_add(a, value);
    }
  }
  if (kind != MAX_POOL) a = v4_div(a, v4_splat((float)(s.kh * s.kw)));
  v4_store_lanes(out, a, lanes);
}

INLINE void pool(const pool_shape s, const int kind, source in, target out) {
  const int whole = s.y0 == 0 && s.x0 == 0 && s.dilation_y == 1 && s.dilation_x == 1 &&
                    (s.oh - 1) * s.stride_y + s.kh <= s.ih && (s.ow - 1) * s.stride_x + s.kw <= s.iw;
  for (int y = 0; y < s.oh; ++y) {
    for (int x = 0; x < s.ow; ++x) {
      const source window = whole ? source_at(in, y * s.stride_y, x * s.stride_x, 0) : in;
      float *o = out.at + y * out.row + x * out.px;
      int c = 0;
      for (; c + 4 <= s.channels; c += 4) {
        if (whole) {
          pool_whole_window(s, kind, 4, window.at + c, in.row, in.px, o + c);
        } else {
          pool_window(s, kind, 4, source_at(in, 0, 0, c), y, x, o + c);
        }
      }
      if (s.channels % 4) {
        if (whole) {
          pool_whole_window(s, kind, s.channels % 4, window.at + c, in.row, in.px, o + c);
        } else {
          pool_window(s, kind, s.channels % 4, source_at(in, 0, 0, c), y, x, o + c);
        }
      }
    }
  }
}

#endif
