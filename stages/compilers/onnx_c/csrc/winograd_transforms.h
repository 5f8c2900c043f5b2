/* The one-dimensional transforms of Winograd's minimal filtering (Lavin and Gray, "Fast Algorithms for Convolutional
   Neural Networks", 2015). F(2,3) has the points 0, 1, -1, infinity; F(4,3) has 0, +-sqrt(1/2), +-sqrt(2), infinity,
   whose rounding error is smaller than that of 0, +-1, +-2, infinity. */
#ifndef RC_WINOGRAD_TRANSFORMS_H
#define RC_WINOGRAD_TRANSFORMS_H

#include "vector.h"

#define RC_SQRT_HALF 0.70710678118654752f
#define RC_SQRT_2 1.41421356237309505f

/* m + 2 values from m + 2 of the input */
RC_INLINE void rc_winograd_input(const int m, const rc_v4 d[6], rc_v4 t[6]) {
  if (m == 2) {
    t[0] = rc_v4_sub(d[0], d[2]);
    t[1] = rc_v4_add(d[1], d[2]);
    t[2] = rc_v4_sub(d[2], d[1]);
    t[3] = rc_v4_sub(d[3], d[1]);
  } else {
    const rc_v4 half = rc_v4_splat(0.5f), five_halves = rc_v4_splat(2.5f);
    const rc_v4 even1 = rc_v4_sub(d[4], rc_v4_add(d[2], d[2])), even2 = rc_v4_sub(d[4], rc_v4_mul(half, d[2]));
    const rc_v4 odd1 = rc_v4_mul(rc_v4_splat(RC_SQRT_HALF), rc_v4_sub(d[3], rc_v4_add(d[1], d[1])));
    const rc_v4 odd2 = rc_v4_mul(rc_v4_splat(RC_SQRT_2), rc_v4_sub(d[3], rc_v4_mul(half, d[1])));
    t[0] = rc_v4_sub(rc_v4_add(d[0], d[4]), rc_v4_mul(five_halves, d[2]));
    t[1] = rc_v4_add(even1, odd1);
    t[2] = rc_v4_sub(even1, odd1);
    t[3] = rc_v4_add(even2, odd2);
    t[4] = rc_v4_sub(even2, odd2);
    t[5] = rc_v4_sub(rc_v4_add(d[1], d[5]), rc_v4_mul(five_halves, d[3]));
  }
}

/* m + 2 values from the 3 of the kernel */
RC_INLINE void rc_winograd_kernel(const int m, const rc_v4 g[3], rc_v4 t[6]) {
  if (m == 2) {
    const rc_v4 even = rc_v4_mul(rc_v4_splat(0.5f), rc_v4_add(g[0], g[2])), odd = rc_v4_mul(rc_v4_splat(0.5f), g[1]);
    t[0] = g[0];
    t[1] = rc_v4_add(even, odd);
    t[2] = rc_v4_sub(even, odd);
    t[3] = g[2];
  } else {
    const rc_v4 even1 = rc_v4_madd(rc_v4_mul(g[0], rc_v4_splat(-2 / 3.0f)), g[2], rc_v4_splat(-1 / 3.0f));
    const rc_v4 even2 = rc_v4_madd(rc_v4_mul(g[0], rc_v4_splat(1 / 6.0f)), g[2], rc_v4_splat(1 / 3.0f));
    const rc_v4 odd1 = rc_v4_mul(g[1], rc_v4_splat(-2 / 3.0f * RC_SQRT_HALF)),
                odd2 = rc_v4_mul(g[1], rc_v4_splat(RC_SQRT_2 / 6.0f));
    t[0] = g[0];
    t[1] = rc_v4_add(even1, odd1);
    t[2] = rc_v4_sub(even1, odd1);
    t[3] = rc_v4_add(even2, odd2);
    t[4] = rc_v4_sub(even2, odd2);
    t[5] = g[2];
  }
}

/* m outputs from m + 2 products */
RC_INLINE void rc_winograd_output(const int m, const rc_v4 p[6], rc_v4 y[4]) {
  const rc_v4 sum1 = rc_v4_add(p[1], p[2]), difference1 = rc_v4_sub(p[1], p[2]);
  if (m == 2) {
    y[0] = rc_v4_add(p[0], sum1);
    y[1] = rc_v4_add(difference1, p[3]);
  } else {
    const rc_v4 sum2 = rc_v4_add(p[3], p[4]), difference2 = rc_v4_sub(p[3], p[4]);
    y[0] = rc_v4_add(p[0], rc_v4_add(sum1, sum2));
    y[1] = rc_v4_mul(rc_v4_splat(RC_SQRT_HALF), rc_v4_add(difference1, rc_v4_add(difference2, difference2)));
    y[2] = rc_v4_madd(rc_v4_add(sum2, sum2), rc_v4_splat(0.5f), sum1);
    y[3] = rc_v4_add(p[5], rc_v4_madd(rc_v4_mul(rc_v4_splat(0.5f * RC_SQRT_HALF), difference1),
                                      rc_v4_splat(2 * RC_SQRT_2), difference2));
  }
}

#endif
