/* A quantized fully connected layer for one row. Weights lie as [n / 16][pairs of k][16][2], the last block as wide as
   a multiple of 4 needs; weights, bias and scales are filled up with zeros. Where k is odd, one value after x is read
   and multiplied by 0. */
#ifndef RC_INT8_DENSE_H
#define RC_INT8_DENSE_H

#include "requantize.h"

RC_INLINE void rc_int8_dense_block(const int k, const int lanes, const int c, const int16_t *x, const int8_t *w,
                                          const int32_t *b, const rc_requantization r, int16_t *y) {
  const int vectors = (lanes + 3) / 4;
  rc_i4 sum[4];
  RC_UNROLL
  for (int i = 0; i < vectors; ++i) sum[i] = rc_i4_load(b + c + 4 * i);
  for (int j = 0; j < k; j += 2, w += 8 * vectors) {
    const rc_h8 a = rc_h8_pair(x + j);
    RC_UNROLL
    for (int i = 0; i < vectors; ++i) sum[i] = rc_i4_dot(sum[i], rc_h8_widen(w + 8 * i), a);
  }
  rc_requantize(sum[0], vectors > 1 ? sum[1] : sum[0], lanes < 8 ? lanes : 8, c, r, 0, y + c);
  if (lanes > 8) rc_requantize(sum[2], vectors > 3 ? sum[3] : sum[2], lanes - 8, c + 8, r, 0, y + c + 8);
}

RC_INLINE void rc_int8_dense(const int k, const int n, const int16_t *x, const int8_t *w, const int32_t *b,
                                    const rc_requantization r, int16_t *y) {
  const int even = (k + 1) / 2 * 2;
  int c = 0;
  for (; c + 16 <= n; c += 16) rc_int8_dense_block(k, 16, c, x, w + c * even, b, r, y);
  if (n % 16) rc_int8_dense_block(k, n % 16, c, x, w + c * even, b, r, y);
}

#endif
