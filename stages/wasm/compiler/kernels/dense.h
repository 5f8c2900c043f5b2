/* A fully connected layer for one row: y = x W + b. Weights lie as [n / 32][k][32], the last block as wide as a
   multiple of 4 needs; weights and bias are filled up with zeros. It reads every weight once, in order. */
#ifndef DENSE_H
#define DENSE_H

#include "activation.h"

INLINE void dense_block(const int k, const int lanes, const float *x, const float *w, const float *b,
                        const float *residual, const activation f, float *y) {
  const int vectors = (lanes + 3) / 4;
  v4 sum[8];
  UNROLL for (int i = 0; i < vectors; ++i) sum[i] = v4_load(b + 4 * i);
  for (int j = 0; j < k; ++j, w += 4 * vectors) {
    const v4 a = v4_splat(x[j]);
    UNROLL for (int i = 0; i < vectors; ++i) sum[i] = v4_madd(sum[i], v4_load(w + 4 * i), a);
  }
  UNROLL for (int i = 0; i < vectors; ++i) {
    if (residual) sum[i] = v4_add(sum[i], v4_load_lanes(residual + 4 * i, lanes - 4 * i));
    v4_store_lanes(y + 4 * i, activate(sum[i], f), lanes - 4 * i);
  }
}

INLINE void dense(const int k, const int n, const float *x, const float *w, const float *b, const float *residual,
                  const activation f, float *y) {
  int c = 0;
  for (; c + 32 <= n; c += 32) dense_block(k, 32, x, w + c * k, b + c, residual ? residual + c : 0, f, y + c);
  if (n % 32) dense_block(k, n % 32, x, w + c * k, b + c, residual ? residual + c : 0, f, y + c);
}

#endif
