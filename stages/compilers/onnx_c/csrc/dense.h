/* A fully connected layer for one row: y = x W + b. Weights lie as [n / 32][k][32], the last block as wide as a
   multiple of 4 needs; weights and bias are filled up with zeros. It reads every weight once, in order. */
#ifndef RC_DENSE_H
#define RC_DENSE_H

#include "activation.h"

RC_INLINE void rc_dense_block(const int k, const int lanes, const float *x, const float *w, const float *b,
                                     const float *residual, const rc_activation f, float *y) {
  const int vectors = (lanes + 3) / 4;
  rc_v4 sum[8];
  RC_UNROLL
  for (int i = 0; i < vectors; ++i) sum[i] = rc_v4_load(b + 4 * i);
  for (int j = 0; j < k; ++j, w += 4 * vectors) {
    const rc_v4 a = rc_v4_splat(x[j]);
    RC_UNROLL
    for (int i = 0; i < vectors; ++i) sum[i] = rc_v4_madd(sum[i], rc_v4_load(w + 4 * i), a);
  }
  RC_UNROLL
  for (int i = 0; i < vectors; ++i) {
    if (residual) sum[i] = rc_v4_add(sum[i], rc_v4_load_lanes(residual + 4 * i, lanes - 4 * i));
    rc_v4_store_lanes(y + 4 * i, rc_activate(sum[i], f), lanes - 4 * i);
  }
}

RC_INLINE void rc_dense(const int k, const int n, const float *x, const float *w, const float *b,
                               const float *residual, const rc_activation f, float *y) {
  int c = 0;
  for (; c + 32 <= n; c += 32) rc_dense_block(k, 32, x, w + c * k, b + c, residual ? residual + c : 0, f, y + c);
  if (n % 32) rc_dense_block(k, n % 32, x, w + c * k, b + c, residual ? residual + c : 0, f, y + c);
}

#endif
