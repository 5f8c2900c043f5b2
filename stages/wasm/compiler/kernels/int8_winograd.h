/* Quantized 3x3 convolution of stride 1 by Winograd's F(2x2, 3x3), exactly: the kernel's transform has halves, so the
   weights are transformed times 4, and the sums are multiples of 4. Activations within +-255 become at most 4 * 255,
   weights within +-128 at most 9 * 128: both fit int16. The sums fit int32 for the weights it is chosen for. */
#ifndef INT8_WINOGRAD_H
#define INT8_WINOGRAD_H

#include "int8_conv.h"

#define INT8_WINOGRAD_INPUT_STRIDE(ic, block) (((ic) + 7) / 8 * 8 * (block) + 32)
#define INT8_WINOGRAD_PRODUCT_STRIDE(block) (8 * (block) + 16)

/* [blocks][9][pairs][8][2] of int8 -> [blocks][16][pairs][8][2] of int16, times 4 */
INLINE void int8_winograd_weights(const int ic, const int blocks, const int8_t *w, int16_t *u) {
  const int length = (ic + 1) / 2 * 16;
  for (int block = 0; block < blocks; ++block, w += 9 * length, u += 16 * length) {
    for (int i = 0; i < length; i += 8) {
      h8 columns[4][3];
      UNROLL for (int x = 0; x < 3; ++x) {
        const int8_t *at = w + x * length + i;
        const h8 a = h8_widen(at), b = h8_widen(at + 3 * length), c = h8_widen(at + 6 * length);
        columns[0][x] = h8_add(a, a);
        columns[1][x] = h8_add(h8_add(a, c), b);
        columns[2][x] = h8_sub(h8_add(a, c), b);
        columns[3][x] = h8_add(c, c);
      }
      UNROLL for (int y = 0; y < 4; ++y) {
        const h8 a = columns[y][0], b = columns[y][1], c = columns[y][2];
        int16_t *to = u + y * 4 * length + i;
        h8_store(to, h8_add(a, a));
        h8_store(to + length, h8_add(h8_add(a, c), b));
        h8_store(to + 2 * length, h8_sub(h8_add(a, c), b));
        h8_store(to + 3 * length, h8_add(c, c));
      }
    }
  }
}

INLINE void int8_winograd_input_tile(const int lanes, int8_source in, int16_t *v, const int stride) {
  h8 rows[4][4];
  UNROLL for (int x = 0; x < 4; ++x) {
    h8 d[4];
    UNROLL for (int y = 0; y < 4; ++y) d[y] = h8_load_lanes(in.at + y * in.row + x * in.px, lanes);
    rows[0][x] = h8_sub(d[0], d[2]);
    rows[1][x] = h8_add(d[1], d[2]);
    rows[2][x] = h8_sub(d[2], d[1]);
    rows[3][x] = h8_sub(d[3], d[1]);
  }
  UNROLL for (int y = 0; y < 4; ++y) {
    h8_store(v + (4 * y) * stride, h8_sub(rows[y][0], rows[y][2]));
    h8_store(v + (4 * y + 1) * stride, h8_add(rows[y][1], rows[y][2]));
    h8_store(v + (4 * y + 2) * stride, h8_sub(rows[y][2], rows[y][1]));
    h8_store(v + (4 * y + 3) * stride, h8_sub(rows[y][3], rows[y][1]));
  }
}

INLINE void int8_winograd_multiply(const int ic, const int ic_stride, const int16_t *v, const int16_t *u,
                                   int32_t *products) {
  i4 sum[4][2];
  UNROLL for (int i = 0; i < 4; ++i) sum[i][0] = sum[i][1] = i4_splat(0);
  UNROLL_BY_2 for (int c = 0; c < ic; c += 2, u += 16) {
    const h8 u0 = h8_load(u), u1 = h8_load(u + 8);
    UNROLL for (int i = 0; i < 4; ++i) {
      const h8 a = h8_pair(v + i * ic_stride + c);
      sum[i][0] = i4_dot(sum[i][0], u0, a);
      sum[i][1] = i4_dot(sum[i][1], u1, a);
    }
  }
  UNROLL for (int i = 0; i < 4; ++i) {
    i4_store(products + 8 * i, sum[i][0]);
    i4_store(products + 8 * i + 4, sum[i][1]);
  }
}

/* 2 x 2 outputs of 4 channels, as sums of a direct convolution would be */
INLINE void int8_winograd_output(const int32_t *products, const int stride, const int32_t *b, i4 y[2][2]) {
  const i4 bias = i4_load(b);
  i4 rows[2][4];
  UNROLL for (int x = 0; x < 4; ++x) {
    const int32_t *at = products + x * stride;
    const i4 p1 = i4_load(at + 4 * stride), p2 = i4_load(at + 8 * stride);
    rows[0][x] = i4_add(i4_load(at), i4_add(p1, p2));
    rows[1][x] = i4_add(i4_sub(p1, p2), i4_load(at + 12 * stride));
  }
  UNROLL for (int i = 0; i < 2; ++i) {
    const i4 *p = rows[i];
    y[i][0] = i4_add(i4_quarter(i4_add(p[0], i4_add(p[1], p[2]))), bias);
    y[i][1] = i4_add(i4_quarter(i4_add(i4_sub(p[1], p[2]), p[3])), bias);
  }
}

INLINE void int8_winograd_output_tile(const int lanes, const int c, const int32_t *products, const int stride,
                                      const int32_t *b, int8_source res, const requantization r, int8_target out) {
  i4 low[2][2], high[2][2];
  int8_winograd_output(products, stride, b + c, low);
  if (lanes > 4) int8_winograd_output(products + 4, stride, b + c + 4, high);
  UNROLL for (int y = 0; y < 2; ++y) {
    UNROLL for (int x = 0; x < 2; ++x)
      requantize(low[y][x], lanes > 4 ? high[y][x] : low[y][x], lanes, c, r,
                 res.at ? res.at + y * res.row + x * res.px : 0, out.at + y * out.row + x * out.px);
  }
}

/* As `winograd_conv`: `block` tiles at a time, a multiple of 4 and at most 64, of an image of at least 2 x 2. */
INLINE void int8_winograd_conv(const int block, const conv_shape s, int8_source in, const int16_t *u, const int32_t *b,
                               int8_source res, const requantization r, int8_target out, int16_t *v,
                               int32_t *products) {
  const int across = (s.ow + 1) / 2, tiles = across * ((s.oh + 1) / 2);
  const int ic_stride = (s.ic + 7) / 8 * 8, pairs = (s.ic + 1) / 2;
  const int v_stride = INT8_WINOGRAD_INPUT_STRIDE(s.ic, block), p_stride = INT8_WINOGRAD_PRODUCT_STRIDE(block);
  for (int first = 0; first < tiles; first += block) {
    const int count = tiles - first < block ? tiles - first : block;
    int ys[64], xs[64];
    for (int t = 0; t < count; ++t) {
      const int y = (first + t) / across * 2, x = (first + t) % across * 2;
      ys[t] = y < s.oh - 2 ? y : s.oh - 2;
      xs[t] = x < s.ow - 2 ? x : s.ow - 2;
      int c = 0;
      for (; c + 8 <= s.ic; c += 8)
        int8_winograd_input_tile(8, int8_source_at(in, ys[t], xs[t], c), v + t * ic_stride + c, v_stride);
      if (s.ic % 8)
        int8_winograd_input_tile(s.ic % 8, int8_source_at(in, ys[t], xs[t], c), v + t * ic_stride + c, v_stride);
    }
    for (int c = 0; c < s.oc; c += 8) {
      for (int k = 0; k < 16; ++k)
        for (int t = 0; t < count; t += 4)
          int8_winograd_multiply(s.ic, ic_stride, v + k * v_stride + t * ic_stride, u + (c * 2 + k) * pairs * 16,
                                 products + k * p_stride + t * 8);
      for (int t = 0; t < count; ++t) {
        const int8_source residual = int8_source_at(res, ys[t], xs[t], c);
        const int8_target to = int8_target_at(out, ys[t], xs[t], c);
        if (c + 8 <= s.oc) {
          int8_winograd_output_tile(8, c, products + t * 8, p_stride, b, residual, r, to);
        } else {
          int8_winograd_output_tile(s.oc % 8, c, products + t * 8, p_stride, b, residual, r, to);
        }
      }
    }
  }
}

#endif
