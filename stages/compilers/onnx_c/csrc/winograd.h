/* 3x3 convolution of stride 1 by Winograd's F(m x m, 3 x 3), m = 2 or 4: transform `block` tiles of the input, multiply
   each of the (m + 2)^2 positions as matrices, transform back. The image must be at least m x m; a last tile that would
   reach over its edge is moved inwards and computes some pixels twice. `out` must not be `res`: it may lie nowhere in
   it. */
#ifndef RC_WINOGRAD_H
#define RC_WINOGRAD_H

#include "direct_conv.h"
#include "winograd_transforms.h"

/* Distance of two positions in the transformed input and in the products, not a power of two: else they would all fall
   into the same lines of the cache. */
#define RC_WINOGRAD_INPUT_STRIDE(ic, block) (((ic) + 3) / 4 * 4 * (block) + 16)
#define RC_WINOGRAD_PRODUCT_STRIDE(block) (8 * (block) + 16)

/* Weights as `rc_direct_conv` has them, each block 8 wide -> [oc / 8][(m + 2)^2][ic][8]; `blocks` is oc / 8 rounded up.
 */
RC_INLINE void rc_winograd_weights(const int m, const int ic, const int blocks, const float *w, float *u) {
  const int n = m + 2, length = ic * 8;
  for (int block = 0; block < blocks; ++block, w += 9 * length, u += n * n * length) {
    for (int i = 0; i < length; i += 4) {
      rc_v4 g[3], columns[6][3], t[6];
      RC_UNROLL
      for (int x = 0; x < 3; ++x) {
        RC_UNROLL
        for (int y = 0; y < 3; ++y) g[y] = rc_v4_load(w + (y * 3 + x) * length + i);
        rc_winograd_kernel(m, g, t);
        RC_UNROLL
        for (int y = 0; y < n; ++y) columns[y][x] = t[y];
      }
      RC_UNROLL
      for (int y = 0; y < n; ++y) {
        rc_winograd_kernel(m, columns[y], t);
        RC_UNROLL
        for (int x = 0; x < n; ++x) rc_v4_store(u + (y * n + x) * length + i, t[x]);
      }
    }
  }
}

/* One tile, up to 4 of its channels: position (y, x) goes to v + (y * n + x) * stride. */
RC_INLINE void rc_winograd_input_tile(const int m, const int lanes, rc_source in, float *v, const int stride) {
  const int n = m + 2;
  rc_v4 d[6], rows[6][6], t[6];
  RC_UNROLL
  for (int x = 0; x < n; ++x) {
    RC_UNROLL
    for (int y = 0; y < n; ++y) d[y] = rc_v4_load_lanes(in.at + y * in.row + x * in.px, lanes);
    rc_winograd_input(m, d, t);
    RC_UNROLL
    for (int y = 0; y < n; ++y) rows[y][x] = t[y];
  }
  RC_UNROLL
  for (int y = 0; y < n; ++y) {
    rc_winograd_input(m, rows[y], t);
    RC_UNROLL
    for (int x = 0; x < n; ++x) rc_v4_store(v + (y * n + x) * stride, t[x]);
  }
}

/* One position: 4 tiles by 8 output channels, `ic_stride` floats between the tiles of v. */
RC_INLINE void rc_winograd_multiply(const int ic, const int ic_stride, const float *v, const float *u,
                                           float *products) {
  rc_v4 sum[4][2];
  RC_UNROLL
  for (int i = 0; i < 4; ++i) sum[i][0] = sum[i][1] = rc_v4_splat(0);
  RC_UNROLL_BY_2
  for (int c = 0; c < ic; ++c, u += 8) {
    const rc_v4 u0 = rc_v4_load(u), u1 = rc_v4_load(u + 4);
    RC_UNROLL
    for (int i = 0; i < 4; ++i) {
      const rc_v4 a = rc_v4_splat(v[i * ic_stride + c]);
      sum[i][0] = rc_v4_madd(sum[i][0], u0, a);
      sum[i][1] = rc_v4_madd(sum[i][1], u1, a);
    }
  }
  RC_UNROLL
  for (int i = 0; i < 4; ++i) {
    rc_v4_store(products + 8 * i, sum[i][0]);
    rc_v4_store(products + 8 * i + 4, sum[i][1]);
  }
}

RC_INLINE void rc_winograd_output_tile(const int m, const int lanes, const float *products, const int stride,
                                              const float *b, rc_source res, const rc_activation f, rc_target out) {
  const int n = m + 2;
  const rc_v4 bias = rc_v4_load(b);
  rc_v4 p[6], rows[4][6], t[4];
  RC_UNROLL
  for (int x = 0; x < n; ++x) {
    RC_UNROLL
    for (int y = 0; y < n; ++y) p[y] = rc_v4_load(products + (y * n + x) * stride);
    rc_winograd_output(m, p, t);
    RC_UNROLL
    for (int y = 0; y < m; ++y) rows[y][x] = t[y];
  }
  RC_UNROLL
  for (int y = 0; y < m; ++y) {
    rc_winograd_output(m, rows[y], t);
    RC_UNROLL
    for (int x = 0; x < m; ++x) {
      rc_v4 a = rc_v4_add(t[x], bias);
      if (res.at) a = rc_v4_add(a, rc_v4_load_lanes(res.at + y * res.row + x * res.px, lanes));
      rc_v4_store_lanes(out.at + y * out.row + x * out.px, rc_activate(a, f), lanes);
    }
  }
}

/* `block` is a multiple of 4. `v` holds (m + 2)^2 input strides, `products` as many product strides. */
RC_INLINE void rc_winograd_conv(const int m, const int block, const rc_conv_shape s, rc_source in,
                                       const float *u, const float *b, rc_source res, const rc_activation f,
                                       rc_target out, float *v, float *products) {
  const int across = (s.ow + m - 1) / m, tiles = across * ((s.oh + m - 1) / m), positions = (m + 2) * (m + 2);
  const int ic_stride = (s.ic + 3) / 4 * 4;
  const int v_stride = RC_WINOGRAD_INPUT_STRIDE(s.ic, block), p_stride = RC_WINOGRAD_PRODUCT_STRIDE(block);
  for (int first = 0; first < tiles; first += block) {
    const int count = tiles - first < block ? tiles - first : block;
    int ys[64], xs[64];
    for (int t = 0; t < count; ++t) {
      const int y = (first + t) / across * m, x = (first + t) % across * m;
      ys[t] = y < s.oh - m ? y : s.oh - m;
      xs[t] = x < s.ow - m ? x : s.ow - m;
      int c = 0;
      for (; c + 4 <= s.ic; c += 4)
        rc_winograd_input_tile(m, 4, rc_source_at(in, ys[t], xs[t], c), v + t * ic_stride + c, v_stride);
      if (s.ic % 4)
        rc_winograd_input_tile(m, s.ic % 4, rc_source_at(in, ys[t], xs[t], c), v + t * ic_stride + c, v_stride);
    }
    for (int c = 0; c < s.oc; c += 8) {
      for (int k = 0; k < positions; ++k)
        for (int t = 0; t < count; t += 4)
          rc_winograd_multiply(s.ic, ic_stride, v + k * v_stride + t * ic_stride, u + (c * positions + k * 8) * s.ic,
                               products + k * p_stride + t * 8);
      for (int t = 0; t < count; ++t) {
        const rc_source r = rc_source_at(res, ys[t], xs[t], c);
        const rc_target o = rc_target_at(out, ys[t], xs[t], c);
        const float *p = products + t * 8;
        if (c + 8 <= s.oc) {
          rc_winograd_output_tile(m, 4, p, p_stride, b + c, r, f, o);
          rc_winograd_output_tile(m, 4, p + 4, p_stride, b + c + 4, rc_source_at(r, 0, 0, 4), f,
                                  rc_target_at(o, 0, 0, 4));
        } else {
          rc_winograd_output_tile(m, s.oc % 8, p, p_stride, b + c, r, f, o);
          if (s.oc % 8 > 4)
            rc_winograd_output_tile(m, s.oc % 8 - 4, p + 4, p_stride, b + c + 4, rc_source_at(r, 0, 0, 4), f,
                                    rc_target_at(o, 0, 0, 4));
        }
      }
    }
  }
}

#endif
