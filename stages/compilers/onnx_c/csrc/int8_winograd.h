/* Quantized 3x3 convolution of stride 1 by Winograd's F(2x2, 3x3), exactly: the kernel's transform has halves, so the
   weights are transformed times 4, and the sums are multiples of 4. Activations within +-255 become at most 4 * 255,
   weights within +-128 at most 9 * 128: both fit int16. The sums fit int32 for the weights it is chosen for. */
#ifndef RC_INT8_WINOGRAD_H
#define RC_INT8_WINOGRAD_H

#include "int8_conv.h"

#define RC_INT8_WINOGRAD_INPUT_STRIDE(ic, block) (((ic) + 7) / 8 * 8 * (block) + 32)
#define RC_INT8_WINOGRAD_PRODUCT_STRIDE(block) (8 * (block) + 16)

/* [blocks][9][pairs][8][2] of int8 -> [blocks][16][pairs][8][2] of int16, times 4 */
RC_INLINE void rc_int8_winograd_weights(const int ic, const int blocks, const int8_t *w, int16_t *u) {
  const int length = (ic + 1) / 2 * 16;
  for (int block = 0; block < blocks; ++block, w += 9 * length, u += 16 * length) {
    for (int i = 0; i < length; i += 8) {
      rc_h8 columns[4][3];
      RC_UNROLL
      for (int x = 0; x < 3; ++x) {
        const int8_t *at = w + x * length + i;
        const rc_h8 a = rc_h8_widen(at), b = rc_h8_widen(at + 3 * length), c = rc_h8_widen(at + 6 * length);
        columns[0][x] = rc_h8_add(a, a);
        columns[1][x] = rc_h8_add(rc_h8_add(a, c), b);
        columns[2][x] = rc_h8_sub(rc_h8_add(a, c), b);
        columns[3][x] = rc_h8_add(c, c);
      }
      RC_UNROLL
      for (int y = 0; y < 4; ++y) {
        const rc_h8 a = columns[y][0], b = columns[y][1], c = columns[y][2];
        int16_t *to = u + y * 4 * length + i;
        rc_h8_store(to, rc_h8_add(a, a));
        rc_h8_store(to + length, rc_h8_add(rc_h8_add(a, c), b));
        rc_h8_store(to + 2 * length, rc_h8_sub(rc_h8_add(a, c), b));
        rc_h8_store(to + 3 * length, rc_h8_add(c, c));
      }
    }
  }
}

RC_INLINE void rc_int8_winograd_input_tile(const int lanes, rc_int8_source in, int16_t *v, const int stride) {
  rc_h8 rows[4][4];
  RC_UNROLL
  for (int x = 0; x < 4; ++x) {
    rc_h8 d[4];
    RC_UNROLL
    for (int y = 0; y < 4; ++y) d[y] = rc_h8_load_lanes(in.at + y * in.row + x * in.px, lanes);
    rows[0][x] = rc_h8_sub(d[0], d[2]);
    rows[1][x] = rc_h8_add(d[1], d[2]);
    rows[2][x] = rc_h8_sub(d[2], d[1]);
    rows[3][x] = rc_h8_sub(d[3], d[1]);
  }
  RC_UNROLL
  for (int y = 0; y < 4; ++y) {
    rc_h8_store(v + (4 * y) * stride, rc_h8_sub(rows[y][0], rows[y][2]));
    rc_h8_store(v + (4 * y + 1) * stride, rc_h8_add(rows[y][1], rows[y][2]));
    rc_h8_store(v + (4 * y + 2) * stride, rc_h8_sub(rows[y][2], rows[y][1]));
    rc_h8_store(v + (4 * y + 3) * stride, rc_h8_sub(rows[y][3], rows[y][1]));
  }
}

RC_INLINE void rc_int8_winograd_multiply(const int ic, const int ic_stride, const int16_t *v, const int16_t *u,
                                                int32_t *products) {
  rc_i4 sum[4][2];
  RC_UNROLL
  for (int i = 0; i < 4; ++i) sum[i][0] = sum[i][1] = rc_i4_splat(0);
  RC_UNROLL_BY_2
  for (int c = 0; c < ic; c += 2, u += 16) {
    const rc_h8 u0 = rc_h8_load(u), u1 = rc_h8_load(u + 8);
    RC_UNROLL
    for (int i = 0; i < 4; ++i) {
      const rc_h8 a = rc_h8_pair(v + i * ic_stride + c);
      sum[i][0] = rc_i4_dot(sum[i][0], u0, a);
      sum[i][1] = rc_i4_dot(sum[i][1], u1, a);
    }
  }
  RC_UNROLL
  for (int i = 0; i < 4; ++i) {
    rc_i4_store(products + 8 * i, sum[i][0]);
    rc_i4_store(products + 8 * i + 4, sum[i][1]);
  }
}

/* 2 x 2 outputs of 4 channels, as sums of a direct convolution would be */
RC_INLINE void rc_int8_winograd_output(const int32_t *products, const int stride, const int32_t *b,
                                              rc_i4 y[2][2]) {
  const rc_i4 bias = rc_i4_load(b);
  rc_i4 rows[2][4];
  RC_UNROLL
  for (int x = 0; x < 4; ++x) {
    const int32_t *at = products + x * stride;
    const rc_i4 p1 = rc_i4_load(at + 4 * stride), p2 = rc_i4_load(at + 8 * stride);
    rows[0][x] = rc_i4_add(rc_i4_load(at), rc_i4_add(p1, p2));
    rows[1][x] = rc_i4_add(rc_i4_sub(p1, p2), rc_i4_load(at + 12 * stride));
  }
  RC_UNROLL
  for (int i = 0; i < 2; ++i) {
    const rc_i4 *p = rows[i];
    y[i][0] = rc_i4_add(rc_i4_quarter(rc_i4_add(p[0], rc_i4_add(p[1], p[2]))), bias);
    y[i][1] = rc_i4_add(rc_i4_quarter(rc_i4_add(rc_i4_sub(p[1], p[2]), p[3])), bias);
  }
}

RC_INLINE void rc_int8_winograd_output_tile(const int lanes, const int c, const int32_t *products,
                                                   const int stride, const int32_t *b, rc_int8_source res,
                                                   const rc_requantization r, rc_int8_target out) {
  rc_i4 low[2][2], high[2][2];
  rc_int8_winograd_output(products, stride, b + c, low);
  if (lanes > 4) rc_int8_winograd_output(products + 4, stride, b + c + 4, high);
  RC_UNROLL
  for (int y = 0; y < 2; ++y) {
    RC_UNROLL
    for (int x = 0; x < 2; ++x)
      rc_requantize(low[y][x], lanes > 4 ? high[y][x] : low[y][x], lanes, c, r,
                    res.at ? res.at + y * res.row + x * res.px : 0, out.at + y * out.row + x * out.px);
  }
}

/* As `rc_winograd_conv`: `block` tiles at a time, a multiple of 4 and at most 64, of an image of at least 2 x 2. */
RC_INLINE void rc_int8_winograd_conv(const int block, const rc_conv_shape s, rc_int8_source in, const int16_t *u,
                                            const int32_t *b, rc_int8_source res, const rc_requantization r,
                                            rc_int8_target out, int16_t *v, int32_t *products) {
  const int across = (s.ow + 1) / 2, tiles = across * ((s.oh + 1) / 2);
  const int ic_stride = (s.ic + 7) / 8 * 8, pairs = (s.ic + 1) / 2;
  const int v_stride = RC_INT8_WINOGRAD_INPUT_STRIDE(s.ic, block), p_stride = RC_INT8_WINOGRAD_PRODUCT_STRIDE(block);
  for (int first = 0; first < tiles; first += block) {
    const int count = tiles - first < block ? tiles - first : block;
    int ys[64], xs[64];
    for (int t = 0; t < count; ++t) {
      const int y = (first + t) / across * 2, x = (first + t) % across * 2;
      ys[t] = y < s.oh - 2 ? y : s.oh - 2;
      xs[t] = x < s.ow - 2 ? x : s.ow - 2;
      int c = 0;
      for (; c + 8 <= s.ic; c += 8)
        rc_int8_winograd_input_tile(8, rc_int8_source_at(in, ys[t], xs[t], c), v + t * ic_stride + c, v_stride);
      if (s.ic % 8)
        rc_int8_winograd_input_tile(s.ic % 8, rc_int8_source_at(in, ys[t], xs[t], c), v + t * ic_stride + c, v_stride);
    }
    for (int c = 0; c < s.oc; c += 8) {
      for (int k = 0; k < 16; ++k)
        for (int t = 0; t < count; t += 4)
          rc_int8_winograd_multiply(s.ic, ic_stride, v + k * v_stride + t * ic_stride, u + (c * 2 + k) * pairs * 16,
                                    products + k * p_stride + t * 8);
      for (int t = 0; t < count; ++t) {
        const rc_int8_source residual = rc_int8_source_at(res, ys[t], xs[t], c);
        const rc_int8_target to = rc_int8_target_at(out, ys[t], xs[t], c);
        if (c + 8 <= s.oc) {
          rc_int8_winograd_output_tile(8, c, products + t * 8, p_stride, b, residual, r, to);
        } else {
          rc_int8_winograd_output_tile(s.oc % 8, c, products + t * 8, p_stride, b, residual, r, to);
        }
      }
    }
  }
}

#endif
